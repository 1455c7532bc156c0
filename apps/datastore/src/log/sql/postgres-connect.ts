import { KeelsonError } from "@keelson/service";
import pg from "pg";
import type { PostgresEndpoint } from "./postgres-endpoint.ts";
import { readTlsFiles } from "./tls-files.ts";

/** A transaction whose owner has stopped must not hold the lock for long. */
const idleInTransactionMs = 2_000;
const lockTimeoutMs = 3_000;

/**
 * Connects to the first host that is a primary. Writes to anything else could not be read by the other replicas, and a
 * standby answers with an old state. Rejects with the last error.
 */
export async function connectPrimary(endpoint: PostgresEndpoint, role: string): Promise<pg.Client> {
  let failure: unknown;
  for (const { host, port } of endpoint.hosts) {
    for (const ssl of sslAttempts(endpoint)) {
      const client = new pg.Client({
        host,
        port,
        user: endpoint.user,
        password: endpoint.password,
        database: endpoint.database,
        ssl,
        pipeline: true,
        keepAlive: true,
        connectionTimeoutMillis: endpoint.connectTimeoutMs,
        application_name: `keelson ${role}`,
        options: startupOptions(endpoint.session),
      } as pg.ClientConfig);
      // An error without a listener would end the process; the query that meets it reports it.
      client.on("error", ignoreEnd);
      try {
        await client.connect();
        const { rows } = await client.query("SELECT pg_is_in_recovery() AS standby");
        if (!rows[0].standby) return client;
        failure = new KeelsonError(
          "datastore/standby",
          `the PostgreSQL server ${host}:${port} is a read-only standby`,
          {
            hint: "name the primary in the endpoint, or several hosts separated by commas",
          },
        );
      } catch (error) {
        failure = error;
      }
      await client.end().catch(ignoreEnd);
      if (!isSslRefusal(failure)) break;
    }
  }
  throw failure;
}

/**
 * What to try in order: `prefer` encrypts where the server can, and `require` verifies as `verify-ca` when it is given
 * authorities, as libpq and pgx have it: nobody names authorities to have them ignored.
 */
function sslAttempts({ sslMode, tls }: PostgresEndpoint): pg.ClientConfig["ssl"][] {
  switch (sslMode) {
    case "disable":
      return [false];
    case "prefer":
      return [readTlsFiles(tls, "none"), false];
    case "require":
      return [readTlsFiles(tls, tls.caFile ? "ca" : "none")];
    case "verify-ca":
      return [readTlsFiles(tls, "ca")];
    case "verify-full":
      return [readTlsFiles(tls, "full")];
  }
}

/** Settings as the server's command line, in which spaces and backslashes are escaped. */
function startupOptions({ options, ...settings }: Record<string, string>): string | undefined {
  const own = Object.entries(settings).map(([name, value]) => `-c ${name}=${value.replace(/[\\\s]/g, "\\$&")}`);
  return [...(options ? [options] : []), ...own].join(" ") || undefined;
}

function isSslRefusal(error: unknown): boolean {
  return error instanceof Error && error.message.includes("does not support SSL");
}

/** What every session of ours is given, as one script. */
export function sessionSettings(statementTimeoutMs: number): string {
  return [
    "SET default_transaction_isolation = 'read committed'",
    `SET statement_timeout = ${statementTimeoutMs}`,
    `SET lock_timeout = ${lockTimeoutMs}`,
    `SET idle_in_transaction_session_timeout = ${idleInTransactionMs}`,
    "SET bytea_output = 'hex'",
    "SET jit = off",
    "SET plan_cache_mode = force_generic_plan",
    // What is acknowledged must be on disk. Stronger settings of the server (remote_apply) stay.
    "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local')",
  ].join("; ");
}

/** For errors that the query which meets them reports as well. */
export function ignoreEnd(): void {}

import { randomBytes } from "node:crypto";
import { errorCode, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type pg from "pg";
import { connectPrimary } from "./postgres-connect.ts";
import type { PostgresEndpoint } from "./postgres-endpoint.ts";
import { meta, migratePostgres, one, uniqueViolation } from "./postgres-migration.ts";
import type { OpenedDatabase } from "./sql-database.ts";

/** First half of our advisory locks: "Klsn". The second half is 0 for migrations, the table's oid for the sequencer. */
export const lockClass = 0x4b6c736e;
const oldestServer = 130_000;
const noSuchDatabase = "3D000";
const databaseExists = "42P04";

/** Creates the database if it is missing, brings the tables up to date and reads the state. Throws KeelsonErrors. */
export async function openPostgres(
  endpoint: PostgresEndpoint,
  log: Logger,
): Promise<OpenedDatabase & { tableOid: number }> {
  const client = await connectOrCreate(endpoint);
  try {
    await checkServer(client, endpoint);
    await client.query("BEGIN");
    // The table's own lock keeps a running replica's batches out as well.
    await client.query("SELECT pg_advisory_xact_lock($1, 0)", [lockClass]);
    await migratePostgres(client, endpoint.database, log);
    const tableOid = (await one<{ oid: number }>(client, "SELECT 'kine'::regclass::oid::int8::int4 AS oid")).oid;
    await client.query("SELECT pg_advisory_xact_lock($1, $2)", [lockClass, tableOid]);
    const state = await readState(client, await keepOneCompactRow(client));
    await client.query("COMMIT");
    return { ...state, tableOid };
  } catch (error) {
    if (error instanceof KeelsonError) throw error;
    throw cannotOpen(endpoint, error);
  } finally {
    await client.end().catch(() => undefined);
  }
}

async function connectOrCreate(endpoint: PostgresEndpoint): Promise<pg.Client> {
  try {
    return await connectPrimary(endpoint, "setup");
  } catch (error) {
    if (errorCode(error) !== noSuchDatabase) throw error instanceof KeelsonError ? error : cannotOpen(endpoint, error);
  }
  try {
    const admin = await connectPrimary({ ...endpoint, database: "postgres" }, "setup");
    try {
      await admin.query(
        `CREATE DATABASE ${admin.escapeIdentifier(endpoint.database)} ENCODING 'UTF8' TEMPLATE template0`,
      );
    } catch (error) {
      // Another replica was faster.
      if (errorCode(error) !== databaseExists && errorCode(error) !== uniqueViolation) throw error;
    } finally {
      await admin.end();
    }
    return await connectPrimary(endpoint, "setup");
  } catch (error) {
    throw new KeelsonError(
      "datastore/create-database",
      `cannot create the PostgreSQL database ${endpoint.database}: ${errorMessage(error)}`,
      { hint: "create it by hand, or give the user the right to create databases", cause: error },
    );
  }
}

async function checkServer(client: pg.Client, { database }: PostgresEndpoint): Promise<void> {
  const { version, encoding } = await one<{ version: number; encoding: string }>(
    client,
    "SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding",
  );
  if (version < oldestServer) {
    throw new KeelsonError("datastore/server-version", `PostgreSQL 13 or newer is needed, this is ${version}`, {
      hint: "upgrade the server",
    });
  }
  if (encoding !== "UTF8") {
    throw new KeelsonError("datastore/encoding", `the database ${database} has the encoding ${encoding}`, {
      hint: "create it anew with ENCODING 'UTF8'",
    });
  }
}

/** kine's compaction point. Several rows are a known result of old races; the highest counts. */
async function keepOneCompactRow(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ id: string; revision: string }>(
    "SELECT id, COALESCE(prev_revision, 0) AS revision FROM kine WHERE name = 'compact_rev_key' ORDER BY prev_revision DESC NULLS LAST, id",
  );
  if (rows.length === 0) {
    await client.query(
      `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
       VALUES ('compact_rev_key', 1, 0, 0, 0, 0, ''::bytea, NULL)`,
    );
    return -1;
  }
  if (rows.length > 1) await client.query("DELETE FROM kine WHERE id = ANY($1)", [rows.slice(1).map(({ id }) => id)]);
  const revision = Number(rows[0]!.revision);
  return revision > 0 ? revision : -1;
}

/**
 * The newest revision ever given out. After kine has written, only the sequence may know it: its compaction removes a
 * tombstone at the end. A sequence that lags (a restored dump) is moved up, for kine's sake.
 */
async function readState(client: pg.Client, compactedRevision: number): Promise<OpenedDatabase> {
  await client.query(
    "INSERT INTO keelson_sequencer (id, last_id, change_seq, compacted, era) VALUES (1, 0, 0, -1, 0) ON CONFLICT DO NOTHING",
  );
  const fresh = (randomBytes(8).readBigUInt64BE() | 1n).toString();
  await client.query("INSERT INTO keelson_meta (name, value) VALUES ('cluster_id', $1) ON CONFLICT DO NOTHING", [
    fresh,
  ]);
  const found = await one<Record<"known" | "change_seq" | "compacted" | "era" | "newest" | "issued", string>>(
    client,
    `SELECT s.last_id AS known, s.change_seq, s.compacted, s.era, (SELECT COALESCE(MAX(id), 0) FROM kine) AS newest,
       (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM kine_id_seq) AS issued
     FROM keelson_sequencer s WHERE s.id = 1`,
  );
  const [known, newest, issued] = [Number(found.known), Number(found.newest), Number(found.issued)];
  const compacted = Math.max(Number(found.compacted), compactedRevision);
  const lastId = Math.max(known, newest, newest > known ? issued : 0, compacted, 1);
  await client.query("UPDATE keelson_sequencer SET last_id = $1, compacted = $2 WHERE id = 1", [lastId, compacted]);
  if (issued < lastId) await client.query("SELECT setval('kine_id_seq', $1)", [lastId]);
  const clusterId = BigInt((await meta(client, "cluster_id"))!);
  return {
    clusterId,
    lastId,
    changeSeq: Number(found.change_seq),
    compactedRevision: compacted,
    era: Number(found.era),
  };
}

function cannotOpen({ hosts, database }: PostgresEndpoint, error: unknown): KeelsonError {
  const where = hosts.map(({ host, port }) => `${host}:${port}`).join(", ");
  return new KeelsonError(
    "datastore/open",
    `cannot open the PostgreSQL database ${database} at ${where}: ${errorMessage(error)}`,
    {
      hint: hintFor(errorCode(error)),
      cause: error,
    },
  );
}

function hintFor(code: string | undefined): string {
  switch (code) {
    case "ECONNREFUSED":
    case "ENOTFOUND":
    case "ETIMEDOUT":
      return "check that the server runs and that the endpoint's host and port are right";
    case "28P01":
    case "28000":
      return "check the user and password in the endpoint, and the server's pg_hba.conf";
    case "42501":
      return "the user must own the table kine and may create tables";
    case "25006":
      return "the server or the database is read-only; name the primary";
    default:
      return "check the endpoint and the server's log";
  }
}

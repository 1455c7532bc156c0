import { createPublicKey } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type DatabaseServer, lacks, startPostgres } from "@keelson/conformance";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { createRegistry, silentLogger, systemClock } from "@keelson/service";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createPostgresLog } from "../src/log/sql/open-sql-log.ts";
import type { DatabaseTlsFiles } from "../src/log/sql/tls-files.ts";
import { temporaryFolder } from "./running-datastore.ts";
import { Replica } from "./shared-log-behaviour.ts";

describe.skipIf(lacks("initdb", "postgres"))("a PostgreSQL with TLS", () => {
  let server: DatabaseServer;
  let caPem = "";

  beforeAll(async () => {
    server = await startPostgres();
    const caKey = await generateEcKey();
    caPem = createCaCertificate("database", caKey, Date.now());
    const key = await generateEcKey();
    const leaf = { commonName: "postgres", purposes: ["server"] as const, names: ["127.0.0.1"] };
    const certificate = new Authority(caPem, caKey).issue(leaf, createPublicKey(key), Date.now());
    const client = new pg.Client({ connectionString: server.endpoint("postgres") });
    await client.connect();
    // The server writes the files, so that they belong to its user; it refuses a key that others may read.
    for (const [name, pem] of [
      ["server.crt", certificate],
      ["server.key", exportPrivateKey(key)],
    ] as const) {
      const text = Buffer.from(pem).toString("base64");
      await client.query(`COPY (SELECT '${text}') TO PROGRAM 'umask 077; base64 -d > ${name}'`);
    }
    await client.query("ALTER SYSTEM SET ssl = on");
    await client.query("SELECT pg_reload_conf()");
    await client.end();
  }, 60_000);
  afterAll(() => server?.close());

  const open = async (parameters: string, tls?: DatabaseTlsFiles): Promise<void> => {
    const endpoint = server.endpoint("kubernetes").replace("?sslmode=disable", parameters);
    const registry = createRegistry({ defaultMetrics: false });
    const log = createPostgresLog(endpoint, {
      logger: silentLogger,
      clock: systemClock,
      registry,
      ...(tls ? { tls } : {}),
    });
    try {
      await new Replica(log).open();
      const used = new pg.Client({ connectionString: server.endpoint("postgres") });
      await used.connect();
      const { rows } = await used.query(
        "SELECT DISTINCT s.ssl FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE a.application_name LIKE 'keelson %'",
      );
      await used.end();
      expect(rows).toEqual([{ ssl: true }]);
    } finally {
      await log.close();
    }
  };

  it("is used encrypted where it can be, without being asked", async () => {
    await open("");
  });

  it("is verified against the certificate file, and refused when another signed", async () => {
    const folder = await temporaryFolder();
    const caFile = join(folder, "ca.crt");
    await writeFile(caFile, caPem);
    await open("", { caFile });
    await open("?sslmode=require", { caFile });
    await writeFile(caFile, createCaCertificate("other", await generateEcKey(), Date.now()));
    await expect(open("", { caFile })).rejects.toThrow(/certificate/);
    await expect(open("?sslmode=require", { caFile })).rejects.toThrow(/certificate/);
    await expect(open(`?sslmode=require&sslrootcert=${caFile}`)).rejects.toThrow(/certificate/);
    // Without authorities it encrypts and trusts.
    await open("?sslmode=require");
  });

  it("names a certificate file that is missing", async () => {
    await expect(open("", { caFile: "/nowhere/ca.crt" })).rejects.toThrow("cannot read /nowhere/ca.crt");
  });
});

import { existsSync } from "node:fs";
import { type DatabaseServer, lacks, startPostgres } from "@keelson/conformance";
import { createRegistry, silentLogger, systemClock } from "@keelson/service";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { openLog } from "../src/log/open-log.ts";
import { Replica } from "./shared-log-behaviour.ts";

const open = (endpoint: string) =>
  openLog(endpoint, {
    logger: silentLogger,
    clock: systemClock,
    registry: createRegistry({ defaultMetrics: false }),
  });

describe("an endpoint", () => {
  it.each(["", "sqlite", "sqlite://", "sqlite:///a/b.db", "./state.db", "state.db", "file:state.db"])(
    "is SQLite's: %s",
    (endpoint) => {
      expect(open(endpoint).kind).toBe("sqlite");
    },
  );

  it.each(["SQLITE:///x", "postgres:/x:hunter2", "postgres", "sqlit", "mysql:x", "oracle://u:hunter2@x"])(
    "is refused instead of making a file of that name: %s",
    (endpoint) => {
      expect(() => open(endpoint)).toThrow(/the datastore endpoint (has|is)/);
      expect(() => open(endpoint)).not.toThrow(/hunter2/);
      expect(existsSync(endpoint)).toBe(false);
    },
  );
});

describe.skipIf(lacks("initdb", "postgres"))("a PostgreSQL endpoint with a search path", () => {
  let server: DatabaseServer;
  beforeAll(async () => {
    server = await startPostgres();
  }, 60_000);
  afterAll(() => server?.close());

  it("finds kine's table in its schema, and makes its own there", async () => {
    const query = async (database: string, text: string): Promise<unknown[]> => {
      const client = new pg.Client({ connectionString: server.endpoint(database) });
      await client.connect();
      onTestFinished(() => client.end());
      return (await client.query(text)).rows;
    };
    await query("postgres", "CREATE DATABASE kubernetes");
    await query(
      "kubernetes",
      `CREATE SCHEMA k3s; SET search_path = k3s;
       CREATE TABLE kine (id BIGSERIAL PRIMARY KEY, name text COLLATE "C", created INTEGER, deleted INTEGER,
         create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea);
       CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision);
       INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value)
         VALUES ('compact_rev_key', 1, 0, 0, 0, 0, ''), ('/registry/a', 1, 0, 0, 0, 0, 'one')`,
    );
    const log = open(`${server.endpoint("kubernetes")}&search_path=k3s`);
    try {
      expect((await new Replica(log).open()).state.currentRevision).toBe(2);
    } finally {
      await log.close();
    }
    const tables = await query(
      "kubernetes",
      "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('kine', 'keelson_meta')",
    );
    expect(tables).toEqual([{ schemaname: "k3s" }]);
  });
});

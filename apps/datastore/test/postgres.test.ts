import { type DatabaseServer, lacks, startPostgres } from "@keelson/conformance";
import fc from "fast-check";
import pg from "pg";
import { describe, expect, it } from "vitest";
import { createPostgresLog } from "../src/log/sql/open-sql-log.ts";
import { decodeName, encodeName } from "../src/log/sql/postgres-values.ts";
import { describeKineHandBack } from "./kine-hand-back-behaviour.ts";
import { describeSharedLog, type SqlFlavour } from "./shared-log-behaviour.ts";

async function admin(server: DatabaseServer, database: string, sql: string): Promise<(string | null)[][]> {
  const client = new pg.Client({ connectionString: server.endpoint(database) });
  await client.connect();
  try {
    const { rows } = await client.query<unknown[]>({ text: sql, rowMode: "array" });
    return rows.map((row) => row.map((value) => (value === null ? null : String(value))));
  } finally {
    await client.end();
  }
}

describe.skipIf(lacks("initdb", "postgres"))("the log in PostgreSQL", () => {
  const flavour: SqlFlavour = {
    start: startPostgres,
    createLog: createPostgresLog,
    admin,
    cutWriters: async (server, database) => {
      await admin(
        server,
        "postgres",
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${database}' AND application_name = 'keelson writer'`,
      );
    },
    setReadOnly: async (server, _database, readOnly) => {
      await admin(
        server,
        "postgres",
        `ALTER SYSTEM SET default_transaction_read_only = ${readOnly ? "on" : "off"}`,
      ).catch(
        // A read-only default binds the administrator too.
        () =>
          admin(
            server,
            "postgres",
            "SET default_transaction_read_only = off; ALTER SYSTEM RESET default_transaction_read_only",
          ),
      );
      await admin(server, "postgres", "SELECT pg_reload_conf()");
    },
    oldKine: [
      `CREATE TABLE kine (id SERIAL PRIMARY KEY, name VARCHAR(630), created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value bytea, old_value bytea)`,
      "CREATE INDEX kine_name_index ON kine (name)",
      "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
      `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES
        ('compact_rev_key', 1, 0, 0, 3, 0, ''), ('/registry/a', 1, 0, 0, 0, 0, 'one'), ('gap-3', 0, 1, 0, 0, 0, NULL),
        ('/registry/a', 0, 0, 2, 2, 30, 'two'), ('/registry/A', 1, 0, 0, 0, 0, 'upper'),
        ('/registry/late', 0, 0, 1, 1, 0, 'x'), ('/registry/a', 0, 1, 0, 4, 0, NULL), ('gap-8', 0, 1, 0, 0, 0, NULL),
        ('/registry/a', 1, 0, 0, 7, 0, 'again')`,
    ],
    newKine: [
      `CREATE TABLE kine (id BIGSERIAL PRIMARY KEY, name text COLLATE "C", created INTEGER, deleted INTEGER,
        create_revision BIGINT, prev_revision BIGINT, lease INTEGER, value bytea, old_value bytea)`,
      "CREATE INDEX kine_name_index ON kine (name)",
      "CREATE INDEX kine_name_id_index ON kine (name, id)",
      "CREATE INDEX kine_id_deleted_index ON kine (id, deleted)",
      "CREATE INDEX kine_prev_revision_index ON kine (prev_revision)",
      "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
    ],
    bytesLiteral: (bytes) => `'\\x${Buffer.from(bytes).toString("hex")}'`,
    nextKineId: async (server, database) =>
      Number((await admin(server, database, "SELECT nextval('kine_id_seq')"))[0]![0]),
  };
  describeSharedLog(flavour);
  describeKineHandBack(flavour);
});

describe("names in PostgreSQL", () => {
  const bytes = fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)) });

  it("keep every key and its place in the order", () => {
    fc.assert(
      fc.property(bytes, bytes, (one, other) => {
        expect(decodeName(encodeName(one))).toBe(one);
        expect(encodeName(one)).not.toContain("\0");
        const stored = Buffer.compare(Buffer.from(encodeName(one)), Buffer.from(encodeName(other)));
        expect(stored).toBe(Buffer.compare(Buffer.from(one, "latin1"), Buffer.from(other, "latin1")));
      }),
    );
  });

  it("are plain for plain keys, and kine's own UTF-8 names keep their bytes", () => {
    expect(encodeName("/registry/pods/default/a:b")).toBe("/registry/pods/default/a:b");
    expect(decodeName("/ключ")).toBe(Buffer.from("/ключ").toString("latin1"));
  });
});

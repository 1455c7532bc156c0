import { type DatabaseServer, lacks, startMariadb } from "@keelson/conformance";
import mysql from "mysql2/promise";
import { describe } from "vitest";
import { createMysqlLog } from "../src/log/sql/open-sql-log.ts";
import { describeKineHandBack } from "./kine-hand-back-behaviour.ts";
import { describeSharedLog, type SqlFlavour } from "./shared-log-behaviour.ts";

async function admin(server: DatabaseServer, database: string, sql: string): Promise<(string | null)[][]> {
  const connection = await mysql.createConnection({ host: "127.0.0.1", port: server.port, user: "root", database });
  try {
    const [rows] = await connection.query({ sql, rowsAsArray: true });
    if (!Array.isArray(rows)) return [];
    return (rows as unknown[][]).map((row) => row.map((value) => (value === null ? null : String(value))));
  } finally {
    await connection.end();
  }
}

describe.skipIf(lacks("mariadbd", "mariadb-install-db"))("the log in MariaDB", () => {
  const flavour: SqlFlavour = {
    start: startMariadb,
    createLog: createMysqlLog,
    admin,
    cutWriters: async (server, database) => {
      const holders = await admin(
        server,
        "mysql",
        `SELECT p.id FROM information_schema.processlist p JOIN information_schema.innodb_trx t ON t.trx_mysql_thread_id = p.id
         WHERE p.db = '${database}'`,
      );
      for (const [id] of holders) await admin(server, "mysql", `KILL CONNECTION ${id}`).catch(() => undefined);
    },
    setReadOnly: async (server, _database, readOnly) => {
      await admin(server, "mysql", `SET GLOBAL read_only = ${readOnly ? 1 : 0}`);
    },
    oldKine: [
      `CREATE TABLE kine (id INTEGER AUTO_INCREMENT, name VARCHAR(630) CHARACTER SET ascii, created INTEGER, deleted INTEGER,
        create_revision INTEGER, prev_revision INTEGER, lease INTEGER, value BLOB, old_value BLOB, PRIMARY KEY (id))`,
      "CREATE INDEX kine_name_index ON kine (name)",
      `INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value) VALUES
        ('compact_rev_key', 1, 0, 0, 3, 0, ''), ('/registry/a', 1, 0, 0, 0, 0, 'one'), ('gap-3', 0, 1, 0, 0, 0, NULL),
        ('/registry/a', 0, 0, 2, 2, 30, 'two'), ('/registry/A', 1, 0, 0, 0, 0, 'upper'),
        ('/registry/late', 0, 0, 1, 1, 0, 'x'), ('/registry/a', 0, 1, 0, 4, 0, NULL), ('gap-8', 0, 1, 0, 0, 0, NULL),
        ('/registry/a', 1, 0, 0, 7, 0, 'again')`,
    ],
    newKine: [
      `CREATE TABLE kine (id BIGINT UNSIGNED AUTO_INCREMENT, name VARCHAR(630) CHARACTER SET ascii, created INTEGER, deleted INTEGER,
        create_revision BIGINT UNSIGNED, prev_revision BIGINT UNSIGNED, lease INTEGER, value MEDIUMBLOB, old_value MEDIUMBLOB, PRIMARY KEY (id))`,
      "CREATE INDEX kine_name_index ON kine (name)",
      "CREATE INDEX kine_name_id_index ON kine (name, id)",
      "CREATE INDEX kine_id_deleted_index ON kine (id, deleted)",
      "CREATE INDEX kine_prev_revision_index ON kine (prev_revision)",
      "CREATE UNIQUE INDEX kine_name_prev_revision_uindex ON kine (name, prev_revision)",
    ],
    bytesLiteral: (bytes) => `X'${Buffer.from(bytes).toString("hex")}'`,
    nextKineId: async (server, database) => {
      const sql =
        "SELECT auto_increment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'kine'";
      return Number((await admin(server, database, sql))[0]![0]);
    },
  };
  describeSharedLog(flavour);
  describeKineHandBack(flavour);
});

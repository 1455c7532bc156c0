import { randomBytes } from "node:crypto";
import { errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type mysql from "mysql2/promise";
import type { MysqlEndpoint } from "./mysql-endpoint.ts";
import { cannotOpen, connectMysql, errnoOf } from "./mysql-link.ts";
import { quoteLatin1 } from "./mysql-literals.ts";
import { checkSchemaLevel, derivedVersions, duplicateRows, kineIndexes, schemaLevel } from "./schema-level.ts";
import type { OpenedDatabase } from "./sql-database.ts";

const noSuchDatabase = 1049;
const duplicateEntry = 1062;
const migrationLockSeconds = 120;
/** Beside prev_revision in the unique index, whose entries may have 3072 bytes. */
export const maxNameBytes = 3_000;
/** A request of etcd's largest size, quoted at its worst, must fit into one packet. */
const minPacketBytes = 4 << 20;

/**
 * kine's table, but for the type of `name`: bytes, where kine has VARCHAR(630) with a collation that takes `/a/Foo` and
 * `/a/foo` for the same key. kine reads and writes either. Of kine's indexes only the one it cannot do without: the others
 * double what a write costs. On a table that kine made they stay, because kine would not make them again.
 */
const createKine = `CREATE TABLE IF NOT EXISTS kine (
  id BIGINT UNSIGNED AUTO_INCREMENT,
  name VARBINARY(${maxNameBytes}),
  created INTEGER,
  deleted INTEGER,
  create_revision BIGINT UNSIGNED,
  prev_revision BIGINT UNSIGNED,
  lease INTEGER,
  value MEDIUMBLOB,
  old_value MEDIUMBLOB,
  version BIGINT NULL,
  lease_id BIGINT NULL,
  txn_last BIGINT NULL,
  PRIMARY KEY (id),
  UNIQUE INDEX ${kineIndexes.unique} (name, prev_revision)
) ENGINE=InnoDB ROW_FORMAT=DYNAMIC`;

const ownTables = [
  "CREATE TABLE IF NOT EXISTS keelson_meta (name VARBINARY(255) PRIMARY KEY, value MEDIUMBLOB) ENGINE=InnoDB",
  `CREATE TABLE IF NOT EXISTS keelson_lease (
    id BIGINT PRIMARY KEY, ttl BIGINT NOT NULL, revoked INTEGER NOT NULL, granted_at BIGINT NOT NULL, changed_at BIGINT NOT NULL,
    INDEX keelson_lease_changed (changed_at)
  ) ENGINE=InnoDB`,
  `CREATE TABLE IF NOT EXISTS keelson_sequencer (
    id INTEGER PRIMARY KEY, last_id BIGINT NOT NULL, change_seq BIGINT NOT NULL, compacted BIGINT NOT NULL, era BIGINT NOT NULL
  ) ENGINE=InnoDB`,
  `CREATE TABLE IF NOT EXISTS keelson_member (
    id BIGINT PRIMARY KEY, name BLOB NOT NULL, client_urls BLOB NOT NULL, batch BIGINT NOT NULL, flushes BIGINT NOT NULL DEFAULT 0,
    seen_at DATETIME(3) NOT NULL
  ) ENGINE=InnoDB`,
];

const ownColumns = ["version", "lease_id", "txn_last"];

export interface OpenedMysql extends OpenedDatabase {
  /** Largest script the server takes, in bytes. */
  maxScriptBytes: number;
  /** Whether a commit is on disk before others see it; so with a binary log that is synced at each commit. */
  visibleMeansDurable: boolean;
  /** MariaDB ends idle transactions by itself; MySQL only idle connections. */
  endsIdleTransactions: boolean;
}

/** Creates the database if it is missing, brings the tables up to date and reads the state. Throws KeelsonErrors. */
export async function openMysql(endpoint: MysqlEndpoint, log: Logger): Promise<OpenedMysql> {
  try {
    const connection = await connectOrCreate(endpoint);
    try {
      const server = await checkServer(connection, log);
      const lock = quoteLatin1(`keelson schema ${endpoint.database}`.slice(0, 64));
      const got = await scalar(connection, `SELECT GET_LOCK(${lock}, ${migrationLockSeconds})`);
      if (got !== "1") throw new Error("another replica is migrating the tables and does not finish");
      await migrate(connection, endpoint.database, log);
      const state = await readState(connection);
      await connection.query(`SELECT RELEASE_LOCK(${lock})`);
      return { ...state, ...server };
    } finally {
      await connection.end().catch(() => connection.destroy());
    }
  } catch (error) {
    throw cannotOpen(endpoint, error);
  }
}

async function connectOrCreate(endpoint: MysqlEndpoint): Promise<mysql.Connection> {
  try {
    return await connectMysql(endpoint);
  } catch (error) {
    if (errnoOf(error) !== noSuchDatabase) throw error;
  }
  const admin = await connectMysql(endpoint, "");
  try {
    await admin.query(`CREATE DATABASE IF NOT EXISTS \`${endpoint.database.replaceAll("`", "``")}\``);
  } catch (error) {
    throw new KeelsonError(
      "datastore/create-database",
      `cannot create the MySQL database ${endpoint.database}: ${errorMessage(error)}`,
      { hint: "create it by hand, or give the user the right to create it", cause: error },
    );
  } finally {
    await admin.end();
  }
  return await connectMysql(endpoint);
}

async function checkServer(
  connection: mysql.Connection,
  log: Logger,
): Promise<Pick<OpenedMysql, "maxScriptBytes" | "visibleMeansDurable" | "endsIdleTransactions">> {
  const [row] = await rows(
    connection,
    "SELECT VERSION(), @@global.read_only, @@global.max_allowed_packet, @@global.log_bin, @@global.sync_binlog, @@global.innodb_flush_log_at_trx_commit",
  );
  const [version = "", readOnly, packet, logBin, syncBinlog, flush] = row!.map(String);
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const isMariadb = /mariadb/i.test(version);
  if (isMariadb ? major < 10 || (major === 10 && minor < 6) : major < 8) {
    throw new KeelsonError(
      "datastore/server-version",
      `MySQL 8 or MariaDB 10.6 or newer is needed, this is ${version}`,
      {
        hint: "upgrade the server",
      },
    );
  }
  if (readOnly === "1") {
    throw new KeelsonError("datastore/standby", "the MySQL server is read-only", {
      hint: "name the primary in the endpoint",
    });
  }
  if (Number(packet) < minPacketBytes) {
    throw new KeelsonError(
      "datastore/packet-size",
      `the server's max_allowed_packet is ${packet} bytes, too small for large objects`,
      {
        hint: `set max_allowed_packet to 16M, at least to ${minPacketBytes}`,
      },
    );
  }
  if (flush !== "1") {
    log.warn({ innodb_flush_log_at_trx_commit: flush }, "the server may lose acknowledged writes when it loses power");
  }
  return {
    maxScriptBytes: Math.min(Number(packet) - 65_536, 8 << 20),
    visibleMeansDurable: logBin === "1" && syncBinlog === "1",
    endsIdleTransactions: isMariadb,
  };
}

/** DDL cannot be rolled back here, so each step can be repeated. */
async function migrate(connection: mysql.Connection, database: string, log: Logger): Promise<void> {
  const where = `the database ${database}`;
  await connection.query(createKine);
  for (const statement of ownTables) await connection.query(statement);
  const [level] = await rows(connection, "SELECT value FROM keelson_meta WHERE name = 'schema_level'");
  checkSchemaLevel(level === undefined ? undefined : String(level[0]), where);
  await alterColumns(connection, log);
  await verifyUniqueIndex(connection, where);
  const [pending] = await rows(
    connection,
    "SELECT 1 FROM kine WHERE version IS NULL AND name <> 'compact_rev_key' LIMIT 1",
  );
  if (pending !== undefined) {
    await connection.query(
      `UPDATE kine JOIN (${derivedVersions}) AS derived ON derived.id = kine.id SET kine.version = derived.known WHERE kine.version IS NULL`,
    );
  }
  await connection.query(`REPLACE INTO keelson_meta (name, value) VALUES ('schema_level', '${schemaLevel}')`);
}

/**
 * Before v0.11.5 kine's ids had 32 bits, in v0.1 values at most 64 KiB; and names never compare bytewise. One ALTER, so that
 * an old table is rewritten once.
 */
async function alterColumns(connection: mysql.Connection, log: Logger): Promise<void> {
  const found = new Map<string, string>();
  const listed = await rows(
    connection,
    "SELECT column_name, column_type FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'kine'",
  );
  for (const [name, type] of listed) found.set(String(name).toLowerCase(), String(type).toLowerCase());
  const changes: string[] = [];
  if (!found.get("id")?.startsWith("bigint")) changes.push("MODIFY id BIGINT UNSIGNED AUTO_INCREMENT");
  for (const column of ["create_revision", "prev_revision"]) {
    if (!found.get(column)?.startsWith("bigint")) changes.push(`MODIFY ${column} BIGINT UNSIGNED`);
  }
  for (const column of ["value", "old_value"]) {
    if (found.get(column) === "blob") changes.push(`MODIFY ${column} MEDIUMBLOB`);
  }
  if (!found.get("name")?.startsWith("varbinary")) changes.push(`MODIFY name VARBINARY(${maxNameBytes})`);
  for (const column of ownColumns) if (!found.has(column)) changes.push(`ADD COLUMN ${column} BIGINT NULL`);
  if (changes.length === 0) return;
  log.info({ changes }, "altering the table of a kine");
  await connection.query(`ALTER TABLE kine ${changes.join(", ")}`);
}

/**
 * The unique index is what keeps a key from having two successors of one version. A kine whose first start was
 * interrupted never got it.
 */
async function verifyUniqueIndex(connection: mysql.Connection, where: string): Promise<void> {
  const columns = await rows(
    connection,
    `SELECT column_name, non_unique FROM information_schema.statistics WHERE table_schema = DATABASE()
     AND table_name = 'kine' AND index_name = '${kineIndexes.unique}' ORDER BY seq_in_index`,
  );
  const text = columns.map(([name, nonUnique]) => `${name}:${nonUnique}`).join(",");
  if (text.toLowerCase() === "name:0,prev_revision:0") return;
  try {
    if (columns.length > 0) await connection.query(`DROP INDEX ${kineIndexes.unique} ON kine`);
    await connection.query(`CREATE UNIQUE INDEX ${kineIndexes.unique} ON kine (name, prev_revision)`);
  } catch (error) {
    throw errnoOf(error) === duplicateEntry ? duplicateRows(where, error) : error;
  }
}

async function readState(connection: mysql.Connection): Promise<OpenedDatabase> {
  await connection.query(
    "INSERT IGNORE INTO keelson_sequencer (id, last_id, change_seq, compacted, era) VALUES (1, 0, 0, -1, 0)",
  );
  const fresh = (randomBytes(8).readBigUInt64BE() | 1n).toString();
  await connection.query(`INSERT IGNORE INTO keelson_meta (name, value) VALUES ('cluster_id', '${fresh}')`);
  await connection.beginTransaction();
  const [head] = await rows(
    connection,
    "SELECT last_id, change_seq, compacted, era FROM keelson_sequencer WHERE id = 1 FOR UPDATE",
  );
  const [known = 0, changeSeq = 0, knownCompacted = 0, era = 0] = head!.map(Number);
  const compacted = Math.max(await keepOneCompactRow(connection), knownCompacted);
  const newest = Number(await scalar(connection, "SELECT COALESCE(MAX(id), 0) FROM kine"));
  const issued = newest > known ? await newestIssued(connection) : 0;
  const lastId = Math.max(known, newest, issued, compacted, 1);
  await connection.query(`UPDATE keelson_sequencer SET last_id = ${lastId}, compacted = ${compacted} WHERE id = 1`);
  await connection.commit();
  const clusterId = BigInt(await scalar(connection, "SELECT value FROM keelson_meta WHERE name = 'cluster_id'"));
  return { clusterId, lastId, changeSeq, compactedRevision: compacted, era };
}

/**
 * After kine has written, only the counter may know the newest revision: its compaction removes a tombstone at the end. A
 * counter that goes in steps says nothing exact.
 */
async function newestIssued(connection: mysql.Connection): Promise<number> {
  const [row] = await rows(
    connection,
    "SELECT auto_increment, @@auto_increment_increment FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'kine'",
  );
  const [next = 0, step = 0] = row!.map(Number);
  return step === 1 ? next - 1 : 0;
}

/** kine's compaction point. Several rows are a known result of old races; the highest counts. */
async function keepOneCompactRow(connection: mysql.Connection): Promise<number> {
  const found = await rows(
    connection,
    "SELECT id, COALESCE(prev_revision, 0) FROM kine WHERE name = 'compact_rev_key' ORDER BY prev_revision DESC, id",
  );
  if (found.length === 0) {
    await connection.query(
      "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES ('compact_rev_key', 1, 0, 0, 0, 0, '', NULL)",
    );
    return -1;
  }
  for (const [id] of found.slice(1)) await connection.query(`DELETE FROM kine WHERE id = ${Number(id)}`);
  const revision = Number(found[0]![1]);
  return revision > 0 ? revision : -1;
}

async function rows(connection: mysql.Connection, sql: string): Promise<unknown[][]> {
  const [result] = await connection.query({ sql, rowsAsArray: true });
  return result as unknown[][];
}

async function scalar(connection: mysql.Connection, sql: string): Promise<string> {
  return String((await rows(connection, sql))[0]?.[0]);
}

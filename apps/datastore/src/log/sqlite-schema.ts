import { randomBytes } from "node:crypto";
import { DatabaseSync } from "node:sqlite";
import { errorCode, errorMessage, KeelsonError } from "@keelson/service";
import type { LogState } from "./append-log.ts";
import { compactRow } from "./kine-names.ts";

/** Raised when a later version changes our tables in a way that this one must not write to. */
const schemaLevel = 1;

/** Connection settings of the one writer. Durable before acknowledged: synchronous=FULL, as etcd syncs its log. */
export const writerPragmas = [
  "PRAGMA busy_timeout = 5000",
  "PRAGMA synchronous = FULL",
  "PRAGMA temp_store = MEMORY",
  "PRAGMA cache_size = -8192",
  // Larger than SQLite's default, so that a page that changes often is copied back to the file less often.
  "PRAGMA wal_autocheckpoint = 4000",
  "PRAGMA journal_size_limit = 67108864",
];

const createKine = `CREATE TABLE IF NOT EXISTS kine (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT,
  created INTEGER,
  deleted INTEGER,
  create_revision INTEGER,
  prev_revision INTEGER,
  lease INTEGER,
  value BLOB,
  old_value BLOB
)`;

/** Nullable columns of ours. kine names its columns in every statement, so it never sees them. */
const ownColumns = ["version", "lease_id", "txn_last"];

/** kine makes these at its start if they are missing; nothing of ours reads them and every insert would pay for them. */
const kineOnlyIndexes = [
  "kine_name_index",
  "kine_name_id_index",
  "kine_id_deleted_index",
  "kine_prev_revision_index",
  "kine_list_query_index",
  "kine_id_compact_rev_key_with_prev_revision_index",
];

/** Opens the file, creates or migrates the tables and reads the state. Throws a KeelsonError that names the file. */
export function openSqlite(path: string): LogState {
  try {
    const db = new DatabaseSync(path);
    try {
      return prepare(db, path);
    } finally {
      db.close();
    }
  } catch (error) {
    if (error instanceof KeelsonError) throw error;
    throw new KeelsonError("datastore/open", `cannot open the SQLite database ${path}: ${errorMessage(error)}`, {
      hint: hintFor(error),
      cause: error,
    });
  }
}

function prepare(db: DatabaseSync, path: string): LogState {
  db.exec("PRAGMA busy_timeout = 5000");
  const isNew = db.prepare("SELECT 1 FROM sqlite_schema LIMIT 1").get() === undefined;
  if (isNew) db.exec("PRAGMA auto_vacuum = INCREMENTAL");
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL");
  db.exec("BEGIN IMMEDIATE");
  try {
    db.exec(createKine);
    addOwnTables(db, path);
    makeNameText(db);
    verifyUniqueIndex(db, path);
    for (const index of kineOnlyIndexes) db.exec(`DROP INDEX IF EXISTS ${index}`);
    const compactedRevision = keepOneCompactRow(db);
    backfillVersions(db);
    const state = readState(db, compactedRevision);
    db.exec("COMMIT");
    return state;
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

function addOwnTables(db: DatabaseSync, path: string): void {
  const columns = new Set(
    db
      .prepare("SELECT name FROM pragma_table_info('kine')")
      .all()
      .map((row) => row.name),
  );
  for (const column of ownColumns) {
    if (!columns.has(column)) db.exec(`ALTER TABLE kine ADD COLUMN ${column} INTEGER`);
  }
  db.exec("CREATE TABLE IF NOT EXISTS keelson_meta (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID");
  db.exec("CREATE TABLE IF NOT EXISTS keelson_lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL)");
  const level = meta(db, "schema_level");
  if (level !== undefined && Number(level) > schemaLevel) {
    throw new KeelsonError("datastore/newer-schema", `${path} was written by a newer Keelson (schema level ${level})`, {
      hint: "start that version, or restore a backup made by this one",
    });
  }
  setMeta(db, "schema_level", String(schemaLevel));
}

/**
 * Before v0.16.3 kine declared `name INTEGER`, whose affinity turns a key like `007` into the number 7. Only the
 * declaration changes here; keys of Kubernetes start with `/` and are stored as text already.
 */
function makeNameText(db: DatabaseSync): void {
  const column = db.prepare("SELECT type FROM pragma_table_info('kine') WHERE name = 'name'").get();
  if (column?.type === "TEXT") return;
  const { sql } = db.prepare("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'kine'").get() as {
    sql: string;
  };
  const { schema_version: version } = db.prepare("PRAGMA schema_version").get() as { schema_version: number };
  // SQLite guards its schema table against exactly this, unless it is told that it is meant.
  db.enableDefensive(false);
  db.exec("PRAGMA writable_schema = ON");
  db.prepare("UPDATE sqlite_schema SET sql = ? WHERE type = 'table' AND name = 'kine'").run(
    sql.replace(/\bname\s+INTEGER\b/, "name TEXT"),
  );
  // Makes every connection read the changed declaration.
  db.exec(`PRAGMA schema_version = ${version + 1}; PRAGMA writable_schema = RESET`);
  db.enableDefensive(true);
  db.exec("UPDATE kine SET name = CAST(name AS TEXT) WHERE typeof(name) <> 'text'");
}

/** The unique index is what keeps a key from having two successors of one version; kine relies on it. */
function verifyUniqueIndex(db: DatabaseSync, path: string): void {
  try {
    db.exec("CREATE UNIQUE INDEX IF NOT EXISTS kine_name_prev_revision_uindex ON kine (name, prev_revision)");
  } catch (error) {
    throw new KeelsonError("datastore/duplicate-rows", `${path} holds two rows that supersede the same version`, {
      hint: "the database lost its unique index at some time; restore a backup, or remove the newer duplicate by hand",
      cause: error,
    });
  }
}

/** kine's compaction point. Several rows are a known result of old races; the highest counts. */
function keepOneCompactRow(db: DatabaseSync): number {
  const rows = db
    .prepare("SELECT id, prev_revision AS revision FROM kine WHERE name = ? ORDER BY prev_revision DESC")
    .all(compactRow) as { id: number; revision: number }[];
  if (rows.length === 0) {
    db.prepare(
      "INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES (?, 1, 0, 0, 0, 0, x'', NULL)",
    ).run(compactRow);
    return -1;
  }
  for (const { id } of rows.slice(1)) db.prepare("DELETE FROM kine WHERE id = ?").run(id);
  return rows[0]!.revision > 0 ? rows[0]!.revision : -1;
}

/**
 * Gives rows that kine wrote their key version, once: 1 on a create, one more than the row before, and 2 where the row
 * before was compacted away. Later compactions then cannot change what the version seems to be.
 */
function backfillVersions(db: DatabaseSync): void {
  // Holds only rows that kine wrote, so that a start need not look at all of them.
  db.exec("CREATE INDEX IF NOT EXISTS keelson_foreign_rows ON kine (id) WHERE version IS NULL");
  const pending = db.prepare("SELECT 1 FROM kine WHERE version IS NULL AND name <> ? LIMIT 1").get(compactRow);
  if (pending === undefined) return;
  const newest = new Map<string, number>();
  const rows = db.prepare("SELECT id, name, created, deleted, version FROM kine WHERE name <> ? ORDER BY id");
  const update = db.prepare("UPDATE kine SET version = ? WHERE id = ?");
  for (const row of rows.all(compactRow) as {
    id: number;
    name: string;
    created: number;
    deleted: number;
    version: number | null;
  }[]) {
    const version = row.version ?? (row.deleted ? 0 : row.created ? 1 : (newest.get(row.name) ?? 1) + 1);
    newest.set(row.name, version);
    if (row.version === null) update.run(version, row.id);
  }
}

function readState(db: DatabaseSync, compactedRevision: number): LogState {
  const { id } = db.prepare("SELECT COALESCE(MAX(id), 0) AS id FROM kine").get() as { id: number };
  // After compaction removed the newest row (a tombstone) only the sequence still knows its revision.
  const sequence = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'kine'").get() as
    | { seq: number }
    | undefined;
  const settings = new Map<string, string>();
  for (const row of db.prepare("SELECT name, value FROM keelson_meta").all() as { name: string; value: string }[]) {
    settings.set(row.name, row.value);
  }
  return {
    clusterId: identity(db, "cluster_id"),
    memberId: identity(db, "member_id"),
    currentRevision: Math.max(id, sequence?.seq ?? 0, compactedRevision, 1),
    compactedRevision,
    settings,
  };
}

/** A random non-zero id, made at first start. */
function identity(db: DatabaseSync, name: string): bigint {
  const known = meta(db, name);
  if (known !== undefined) return BigInt(known);
  const id = randomBytes(8).readBigUInt64BE() | 1n;
  setMeta(db, name, id.toString());
  return id;
}

function meta(db: DatabaseSync, name: string): string | undefined {
  return (db.prepare("SELECT value FROM keelson_meta WHERE name = ?").get(name) as { value: string } | undefined)
    ?.value;
}

function setMeta(db: DatabaseSync, name: string, value: string): void {
  db.prepare(
    "INSERT INTO keelson_meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  ).run(name, value);
}

function hintFor(error: unknown): string {
  const text = errorMessage(error);
  if (/locked|busy/i.test(text)) return "another process has the file open; only one datastore may own it";
  if (/readonly|read-only/i.test(text) || errorCode(error) === "EACCES") return "make the file and its folder writable";
  if (/not a database|malformed/i.test(text))
    return "the file is damaged or is not a SQLite database; restore a backup";
  if (/full/i.test(text)) return "free some disk space";
  return "check the path and the permissions of its folder";
}

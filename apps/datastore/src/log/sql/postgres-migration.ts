import { errorCode, type Logger } from "@keelson/service";
import type pg from "pg";
import { encodeName } from "./postgres-values.ts";
import { checkSchemaLevel, derivedVersions, duplicateRows, kineIndexes, schemaLevel } from "./schema-level.ts";

export const uniqueViolation = "23505";

const createKine = `CREATE TABLE IF NOT EXISTS kine (
  id BIGSERIAL PRIMARY KEY,
  name TEXT COLLATE "C",
  created INTEGER,
  deleted INTEGER,
  create_revision BIGINT,
  prev_revision BIGINT,
  lease INTEGER,
  value BYTEA,
  old_value BYTEA
)`;

/** The first three columns are nullable additions to kine's table, which names its columns and so never sees them. */
const ownTables = [
  "ALTER TABLE kine ADD COLUMN IF NOT EXISTS version BIGINT",
  "ALTER TABLE kine ADD COLUMN IF NOT EXISTS lease_id BIGINT",
  "ALTER TABLE kine ADD COLUMN IF NOT EXISTS txn_last BIGINT",
  "CREATE TABLE IF NOT EXISTS keelson_meta (name TEXT PRIMARY KEY, value TEXT)",
  `CREATE TABLE IF NOT EXISTS keelson_lease (
    id BIGINT PRIMARY KEY, ttl BIGINT NOT NULL, revoked BOOLEAN NOT NULL, granted_at BIGINT NOT NULL, changed_at BIGINT NOT NULL
  )`,
  "CREATE INDEX IF NOT EXISTS keelson_lease_changed ON keelson_lease (changed_at)",
  `CREATE TABLE IF NOT EXISTS keelson_sequencer (
    id INTEGER PRIMARY KEY, last_id BIGINT NOT NULL, change_seq BIGINT NOT NULL, compacted BIGINT NOT NULL, era BIGINT NOT NULL
  ) WITH (fillfactor = 20)`,
  `CREATE TABLE IF NOT EXISTS keelson_member (
    id BIGINT PRIMARY KEY, name TEXT NOT NULL, client_urls TEXT NOT NULL, batch BIGINT NOT NULL, seen_at TIMESTAMPTZ NOT NULL
  ) WITH (fillfactor = 20)`,
];

/** The table lives on deletes: PostgreSQL's default waits until a fifth of it is dead. */
const tuneVacuum = `ALTER TABLE kine SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_insert_scale_factor = 0.05,
  autovacuum_analyze_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 1)`;

/** Creates kine's table and ours, or brings those that are there up to date, in the caller's transaction. */
export async function migratePostgres(client: pg.Client, database: string, log: Logger): Promise<void> {
  const where = `the database ${database}`;
  await client.query(createKine);
  const known = await client.query("SELECT to_regclass('keelson_meta') IS NOT NULL AS known");
  const level = known.rows[0].known ? await meta(client, "schema_level") : undefined;
  checkSchemaLevel(level, where);
  if (level === String(schemaLevel)) {
    await verifyUniqueIndex(client, where);
    // kine may have written and made its indexes since.
    await dropKineOnlyIndexes(client);
    await backfillVersions(client);
    return;
  }
  await widenColumns(client, log);
  for (const statement of ownTables) await client.query(statement);
  await client.query(tuneVacuum);
  await verifyUniqueIndex(client, where);
  await dropKineOnlyIndexes(client);
  await rewriteNonAsciiNames(client);
  await backfillVersions(client);
  await setMeta(client, "schema_level", String(schemaLevel));
}

/** Before v0.11.5 kine's ids had 32 bits, before v0.13 its names the database's own collation. Both need a rewrite. */
async function widenColumns(client: pg.Client, log: Logger): Promise<void> {
  const { rows } = await client.query<{ name: string; type: string; collation: string | null }>(
    `SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, c.collname AS collation
     FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
     WHERE a.attrelid = 'kine'::regclass AND a.attnum > 0 AND NOT a.attisdropped`,
  );
  const changes: string[] = [];
  for (const { name, type, collation } of rows) {
    if (["id", "create_revision", "prev_revision"].includes(name) && type !== "bigint") {
      changes.push(`ALTER COLUMN ${name} TYPE BIGINT`);
    }
    if (name === "name" && (type !== "text" || collation !== "C")) {
      changes.push('ALTER COLUMN name TYPE TEXT COLLATE "C"');
    }
  }
  if (changes.length === 0) return;
  log.info({ changes }, "rewriting the table of an old kine");
  await client.query(`ALTER TABLE kine ${changes.join(", ")}`);
  const { sequence } = await one<{ sequence: string | null }>(
    client,
    "SELECT pg_get_serial_sequence('kine', 'id') AS sequence",
  );
  if (sequence !== null) await client.query(`ALTER SEQUENCE ${sequence} AS BIGINT`);
}

/** The unique index is what keeps a key from having two successors of one version; kine relies on it. */
async function verifyUniqueIndex(client: pg.Client, where: string): Promise<void> {
  const { rows } = await client.query(
    `SELECT i.indisunique AND i.indisvalid AND pg_get_indexdef(i.indexrelid) LIKE '%(name, prev_revision)' AS good
     FROM pg_index i WHERE i.indexrelid = to_regclass($1)`,
    [kineIndexes.unique],
  );
  if (rows[0]?.good) return;
  try {
    await client.query(`DROP INDEX IF EXISTS ${kineIndexes.unique}`);
    await client.query(`CREATE UNIQUE INDEX ${kineIndexes.unique} ON kine (name, prev_revision)`);
  } catch (error) {
    throw errorCode(error) === uniqueViolation ? duplicateRows(where, error) : error;
  }
}

/** Asks first: dropping takes an exclusive lock even when there is nothing to drop. */
async function dropKineOnlyIndexes(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>(
    "SELECT c.relname AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid" +
      " WHERE i.indrelid = 'kine'::regclass AND c.relname = ANY($1)",
    [kineIndexes.others],
  );
  for (const { name } of rows) await client.query(`DROP INDEX ${name}`);
}

/** kine stored a key's UTF-8 as text; ours is one character a byte. Keys of Kubernetes are ASCII, so there is rarely one. */
async function rewriteNonAsciiNames(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ name: string }>("SELECT DISTINCT name FROM kine WHERE name ~ '[^\\x02-\\x7f]'");
  for (const { name } of rows) {
    const stored = encodeName(Buffer.from(name).toString("latin1"));
    await client.query("UPDATE kine SET name = $1 WHERE name = $2", [stored, name]);
  }
}

/** Written down once, so that later compactions cannot change what a version seems to be. */
async function backfillVersions(client: pg.Client): Promise<void> {
  const pending = await client.query("SELECT 1 FROM kine WHERE version IS NULL AND name <> 'compact_rev_key' LIMIT 1");
  if (pending.rows.length === 0) return;
  await client.query(
    `UPDATE kine SET version = derived.known FROM (${derivedVersions}) AS derived WHERE kine.id = derived.id AND kine.version IS NULL`,
  );
}

/** A setting of ours in the database. */
export async function meta(client: pg.Client, name: string): Promise<string | undefined> {
  return (await client.query<{ value: string }>("SELECT value FROM keelson_meta WHERE name = $1", [name])).rows[0]
    ?.value;
}

async function setMeta(client: pg.Client, name: string, value: string): Promise<void> {
  await client.query(
    "INSERT INTO keelson_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [name, value],
  );
}

/** The one row of a query. */
export async function one<T extends pg.QueryResultRow>(
  client: pg.Client,
  text: string,
  values: unknown[] = [],
): Promise<T> {
  return (await client.query<T>(text, values)).rows[0]!;
}

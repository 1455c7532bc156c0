import { randomBytes } from "node:crypto";
import { errorCode, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type pg from "pg";
import type { PostgresEndpoint } from "./postgres-endpoint.ts";
import { connectPrimary } from "./postgres-link.ts";
import { encodeName } from "./postgres-values.ts";
import { checkSchemaLevel, derivedVersions, duplicateRows, kineIndexes, schemaLevel } from "./schema-level.ts";
import type { OpenedDatabase } from "./sql-database.ts";

/** First half of our advisory locks: "Klsn". The second half is 0 for migrations, the table's oid for the sequencer. */
export const lockClass = 0x4b6c736e;
const oldestServer = 130_000;
const noSuchDatabase = "3D000";
const databaseExists = "42P04";
const uniqueViolation = "23505";

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
    await client.query(createKine);
    await migrate(client, endpoint, log);
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

async function migrate(client: pg.Client, endpoint: PostgresEndpoint, log: Logger): Promise<void> {
  const where = `the database ${endpoint.database}`;
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

async function meta(client: pg.Client, name: string): Promise<string | undefined> {
  return (await client.query<{ value: string }>("SELECT value FROM keelson_meta WHERE name = $1", [name])).rows[0]
    ?.value;
}

async function setMeta(client: pg.Client, name: string, value: string): Promise<void> {
  await client.query(
    "INSERT INTO keelson_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    [name, value],
  );
}

async function one<T extends pg.QueryResultRow>(client: pg.Client, text: string, values: unknown[] = []): Promise<T> {
  return (await client.query<T>(text, values)).rows[0]!;
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

import type { Logger, Registry } from "@keelson/service";
import type { LeaseChange, StoredLease, StoredRow } from "./append-log.ts";
import {
  clientValue,
  type KineColumns,
  previousValuesInBatch,
  storedName,
  storedValue,
  toStoredRow,
} from "./sql/kine-row.ts";
import type { PostgresEndpoint } from "./sql/postgres-endpoint.ts";
import { PostgresLink, type Statement, type Step, type TextRow } from "./sql/postgres-link.ts";
import { lockClass, openPostgres } from "./sql/postgres-schema.ts";
import {
  byteaArray,
  decodeBytea,
  decodeName,
  encodeName,
  int4Array,
  int8Array,
  textArray,
} from "./sql/postgres-values.ts";
import {
  type Cursor,
  type Look,
  type MemberRow,
  type OpenedDatabase,
  type RowPage,
  type SequencedBatch,
  type SqlDatabase,
  SqlFailure,
} from "./sql/sql-database.ts";
import { SqlObserver } from "./sql/sql-observer.ts";

const channel = "keelson_kine";
const statementTimeoutMs = 8_000;
/** Loads and hand-backs move many rows at a time. */
const bulkTimeoutMs = 60_000;
/** A btree entry may take up a third of a page; what remains beside prev_revision and the headers. */
const maxStoredNameBytes = 2_650;
/** A member is alive while its last sign is younger than this, and forgotten when it is older than that. */
const memberLifetime = "30 seconds";
const memberMemory = "1 hour";

const headColumns = "id, name, created, deleted, create_revision, prev_revision, lease, version, lease_id, txn_last";

const sql = {
  begin: { name: "Begin", text: "BEGIN" },
  commit: { name: "Commit", text: "COMMIT" },
  /** The row that every batch updates, and beside it the table's own end, in case kine has written. */
  head: {
    name: "CurrentRev",
    text: "SELECT last_id, change_seq, compacted, era, (SELECT MAX(id) FROM kine) FROM keelson_sequencer WHERE id = 1",
  },
  rowsAfter: {
    name: "GetRevisionAfterVal",
    text: `SELECT ${headColumns}, value FROM kine WHERE id > $1 ORDER BY id LIMIT $2`,
  },
  loadRows: { name: "GetRevisionAfter", text: `SELECT ${headColumns} FROM kine WHERE id > $1 ORDER BY id LIMIT $2` },
  values: { name: "GetVal", text: "SELECT id, name, deleted, value FROM kine WHERE id = ANY($1::int8[])" },
  insert: {
    name: "Insert",
    text: `INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, old_value, version, lease_id, txn_last)
      SELECT r.id, r.name, r.created, r.deleted, r.create_revision, r.prev_revision, r.lease, r.value,
        CASE WHEN r.deleted = 1 THEN COALESCE(r.old_value, (SELECT p.value FROM kine p WHERE p.id = r.prev_revision)) END,
        r.version, r.lease_id, r.txn_last
      FROM unnest($1::int8[], $2::text[], $3::int4[], $4::int4[], $5::int8[], $6::int8[], $7::int4[], $8::bytea[], $9::bytea[],
        $10::int8[], $11::int8[], $12::int8[])
        AS r(id, name, created, deleted, create_revision, prev_revision, lease, value, old_value, version, lease_id, txn_last)`,
  },
  /** Ends every batch: state, this member's batch number, kine's sequence and the wake-up, in one statement. */
  seal: {
    name: "Seal",
    text: `WITH state AS (
        UPDATE keelson_sequencer SET last_id = $1, change_seq = $2, compacted = GREATEST(compacted, $3), era = $7 WHERE id = 1
      ), member AS (
        INSERT INTO keelson_member AS m (id, name, client_urls, batch, seen_at) VALUES ($4, '', '[]', $5, now())
        ON CONFLICT (id) DO UPDATE SET batch = excluded.batch, seen_at = excluded.seen_at
      )
      SELECT setval('kine_id_seq', $1::int8), pg_notify('${channel}', $6)`,
  },
  compact: {
    name: "UpdateCompact",
    text: "UPDATE kine SET prev_revision = $1 WHERE name = 'compact_rev_key' AND prev_revision < $1",
  },
  grantLeases: {
    name: "GrantLease",
    text: `INSERT INTO keelson_lease (id, ttl, revoked, granted_at, changed_at)
      SELECT r.id, r.ttl, false, $3::int8, $3::int8 FROM unnest($1::int8[], $2::int8[]) AS r(id, ttl)
      ON CONFLICT (id) DO UPDATE SET ttl = excluded.ttl, revoked = false, granted_at = excluded.granted_at, changed_at = excluded.changed_at`,
  },
  renewLeases: {
    name: "RenewLease",
    text: "UPDATE keelson_lease SET changed_at = $2 WHERE id = ANY($1::int8[]) AND NOT revoked",
  },
  revokeLeases: {
    name: "RevokeLease",
    text: "UPDATE keelson_lease SET changed_at = $2, revoked = true WHERE id = ANY($1::int8[])",
  },
  leasesAfter: {
    name: "LeasesAfter",
    text: "SELECT id, ttl, revoked, granted_at > $1 FROM keelson_lease WHERE changed_at > $1 ORDER BY changed_at",
  },
  leases: { name: "Leases", text: "SELECT id, ttl FROM keelson_lease WHERE NOT revoked" },
  forgetLeases: { name: "ForgetLeases", text: "DELETE FROM keelson_lease WHERE revoked AND changed_at < $1" },
  settings: { name: "Settings", text: "SELECT name, value FROM keelson_meta" },
  setSetting: {
    name: "SetSetting",
    text: "INSERT INTO keelson_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
  },
  removeSetting: { name: "RemoveSetting", text: "DELETE FROM keelson_meta WHERE name = $1" },
  purge: { name: "Compact", text: "DELETE FROM kine WHERE id = ANY($1::int8[])" },
  size: {
    name: "GetSize",
    text: `SELECT pg_total_relation_size('kine'), pg_relation_size('kine'), COALESCE(s.n_live_tup, 0), COALESCE(s.n_dead_tup, 0)
      FROM (SELECT 1) AS always LEFT JOIN pg_stat_all_tables s ON s.relid = 'kine'::regclass`,
  },
  lastBatch: { name: "LastBatch", text: "SELECT batch FROM keelson_member WHERE id = $1" },
  beat: {
    name: "Beat",
    text: `INSERT INTO keelson_member (id, name, client_urls, batch, seen_at) VALUES ($1, $2, $3, 0, now())
      ON CONFLICT (id) DO UPDATE SET name = excluded.name, client_urls = excluded.client_urls, seen_at = excluded.seen_at`,
  },
  members: {
    name: "Members",
    text: `SELECT id, name, client_urls FROM keelson_member WHERE seen_at > now() - interval '${memberLifetime}' ORDER BY id`,
  },
  forgetMembers: {
    name: "ForgetMembers",
    text: `DELETE FROM keelson_member WHERE id = $1 OR seen_at < now() - interval '${memberMemory}'`,
  },
  handBack: {
    name: "AfterOldVal",
    text: `UPDATE kine SET old_value = (SELECT p.value FROM kine p WHERE p.id = kine.prev_revision)
      WHERE id IN (SELECT id FROM kine WHERE id > $1 AND old_value IS NULL AND prev_revision <> 0 AND name <> 'compact_rev_key'
        AND EXISTS (SELECT 1 FROM kine p WHERE p.id = kine.prev_revision AND p.value IS NOT NULL) ORDER BY id DESC LIMIT $2)
      RETURNING 1`,
  },
} as const satisfies Record<string, Statement>;

export interface PostgresDatabaseOptions {
  endpoint: PostgresEndpoint;
  log: Logger;
  registry: Registry;
  /** Statements that take longer are logged (1000). */
  slowQueryMs?: number | undefined;
}

/**
 * The statements for PostgreSQL 13 and newer. Four connections: one writes, one looks and listens, one reads values, one
 * deletes and loads; so none of them waits for another's work.
 */
export class PostgresDatabase implements SqlDatabase {
  readonly kind = "postgres";
  /** A commit is on disk before its rows are visible. */
  readonly visibleMeansDurable = true;
  readonly #endpoint: PostgresEndpoint;
  readonly #log: Logger;
  readonly #writer: PostgresLink;
  readonly #watcher: PostgresLink;
  readonly #reader: PostgresLink;
  readonly #bulk: PostgresLink;
  #lockStatement: Statement | undefined;
  #memberId = "";
  #inTransaction = false;
  /** The writer's connection that holds the lock. */
  #lockGeneration = 0;
  #listener: (() => void) | undefined;

  constructor({ endpoint, log, registry, slowQueryMs }: PostgresDatabaseOptions) {
    this.#endpoint = endpoint;
    this.#log = log;
    const observer = new SqlObserver({ log, registry, slowQueryMs });
    const common = { endpoint, observer, log, statementTimeoutMs };
    this.#writer = new PostgresLink({ ...common, role: "writer" });
    this.#reader = new PostgresLink({ ...common, role: "reader" });
    this.#bulk = new PostgresLink({ ...common, role: "bulk", statementTimeoutMs: bulkTimeoutMs });
    this.#watcher = new PostgresLink({
      ...common,
      role: "watcher",
      channel,
      onNotification: (payload) => {
        if (payload !== this.#memberId) this.#listener?.();
      },
      // What was notified while nobody listened has to be looked for.
      onConnected: () => this.#listener?.(),
    });
  }

  get notified(): boolean {
    return this.#watcher.connected;
  }

  async open(memberId: bigint): Promise<OpenedDatabase> {
    const { tableOid, ...opened } = await openPostgres(this.#endpoint, this.#log);
    this.#memberId = memberId.toString();
    this.#lockStatement = { name: "Lock", text: `SELECT pg_advisory_xact_lock(${lockClass}, ${tableOid})` };
    await this.#bulk.query(sql.forgetLeases, [opened.changeSeq]);
    return opened;
  }

  async loadRows(afterId: number, limit: number): Promise<RowPage> {
    return toPage(await this.#bulk.query(sql.loadRows, [afterId, limit]), false);
  }

  async loadLeases(): Promise<StoredLease[]> {
    return (await this.#bulk.query(sql.leases)).map(([id, ttl]) => ({ id: BigInt(id!), ttlSeconds: Number(ttl) }));
  }

  async settings(): Promise<Map<string, string>> {
    return toSettings(await this.#watcher.query(sql.settings));
  }

  async look(from: Cursor, limit: number): Promise<Look> {
    // The head first: whatever it promises the second statement finds.
    const [head, rows] = await this.#watcher.pipeline([[sql.head], [sql.rowsAfter, [from.id, limit]]]);
    return this.#toLook(this.#watcher, from, head!.rows, rows!.rows);
  }

  async lock(from: Cursor, limit: number): Promise<Look> {
    this.#inTransaction = true;
    const steps: Step[] = [[sql.begin], [this.#lockStatement!], [sql.head], [sql.rowsAfter, [from.id, limit]]];
    const [, , head, rows] = await this.#writer.pipeline(steps);
    this.#lockGeneration = this.#writer.generation;
    return this.#toLook(this.#writer, from, head!.rows, rows!.rows);
  }

  async commit(batch: SequencedBatch): Promise<void> {
    const results = await this.#writer.pipeline(commitSteps(batch), this.#lockGeneration);
    this.#inTransaction = false;
    if (results.at(-1)!.command !== "COMMIT") {
      throw new SqlFailure("PostgreSQL rolled the batch back", "retry", undefined);
    }
  }

  unlock(): void {
    if (!this.#inTransaction) return;
    this.#inTransaction = false;
    this.#writer.post("ROLLBACK");
  }

  async lastBatch(memberId: bigint): Promise<number> {
    const [result] = await this.#writer.pipeline([[sql.lastBatch, [memberId.toString()]]], this.#lockGeneration);
    return Number(result!.rows[0]?.[0] ?? 0);
  }

  async makeDurable(): Promise<void> {}

  async purge(ids: readonly number[]): Promise<void> {
    // In order, so that two replicas that delete the same rows do not lock each other out.
    await this.#bulk.query(sql.purge, [int8Array([...ids].sort((a, b) => a - b))]);
  }

  async values(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    const found = new Map<number, Uint8Array>();
    for (const [id, name, deleted, value] of await this.#reader.query(sql.values, [int8Array(ids)])) {
      if (deleted !== "1") found.set(Number(id), toValue(name!, value!));
    }
    return ids.map((id) => found.get(id));
  }

  /** What dead rows take is counted as free: vacuum gives it back to the table, not to the file system. */
  async size(): Promise<{ total: number; inUse: number }> {
    const [row] = await this.#bulk.query(sql.size);
    const [total = 0, table = 0, live = 0, dead = 0] = row!.map(Number);
    return { total, inUse: Math.round(total - table * (live + dead > 0 ? dead / (live + dead) : 0)) };
  }

  async defragment(): Promise<void> {
    await this.#bulk.script("Vacuum", "VACUUM (ANALYZE) kine");
  }

  async beat(member: { id: bigint; name: string; clientUrls: readonly string[] }): Promise<MemberRow[]> {
    await this.#bulk.query(sql.beat, [member.id.toString(), member.name, JSON.stringify(member.clientUrls)]);
    return (await this.#bulk.query(sql.members)).map(([id, name, clientUrls]) => ({
      id: BigInt(id!),
      name: name!,
      clientUrls: JSON.parse(clientUrls!) as string[],
    }));
  }

  async forgetMember(id: bigint): Promise<void> {
    await this.#bulk.query(sql.forgetMembers, [id.toString()]);
  }

  async handBack(afterId: number, limit: number): Promise<number> {
    return (await this.#bulk.query(sql.handBack, [afterId, limit])).length;
  }

  onNotify(listener: () => void): void {
    this.#listener = listener;
  }

  fitsKey(key: string): boolean {
    return key.length * 2 <= maxStoredNameBytes || Buffer.byteLength(encodeName(key)) <= maxStoredNameBytes;
  }

  async close(): Promise<void> {
    this.#listener = undefined;
    await Promise.all([this.#writer.close(), this.#watcher.close(), this.#reader.close(), this.#bulk.close()]);
  }

  async #toLook(link: PostgresLink, from: Cursor, head: TextRow[], rows: TextRow[]): Promise<Look> {
    if (head.length === 0) throw new SqlFailure("the table keelson_sequencer has lost its row", "refused", undefined);
    const [lastId = 0, changeSeq = 0, compacted = 0, era = 0, maxId = 0] = head[0]!.map(Number);
    const end = Math.max(lastId, maxId);
    const look: Look = {
      lastId: end,
      changeSeq,
      compactedRevision: compacted,
      era,
      // A row beyond the head may name a lease that the head does not know of yet.
      page: toPage(
        rows.filter(([id]) => Number(id) <= end),
        true,
      ),
      leases: [],
      settings: undefined,
    };
    if (changeSeq === from.changeSeq) return look;
    const [leases, settings] = await link.pipeline([[sql.leasesAfter, [from.changeSeq]], [sql.settings]]);
    look.leases = leases!.rows.map(toLeaseChange);
    look.settings = toSettings(settings!.rows);
    return look;
  }
}

function commitSteps(batch: SequencedBatch): Step[] {
  const { rows, leases, settings, compactedRevision, changeSeq } = batch;
  const steps: Step[] = [];
  if (rows.length > 0) {
    const previous = previousValuesInBatch(rows);
    steps.push([
      sql.insert,
      [
        int8Array(rows.map((row) => row.id)),
        textArray(rows.map((row) => encodeName(storedName(row)))),
        int4Array(rows.map((row) => (row.created ? 1 : 0))),
        int4Array(rows.map((row) => (row.deleted ? 1 : 0))),
        int8Array(rows.map((row) => row.createRevision)),
        int8Array(rows.map((row) => row.previousId)),
        int4Array(rows.map((row) => row.leaseTtlSeconds)),
        byteaArray(rows.map(storedValue)),
        byteaArray(rows.map((row) => previous.get(row.id))),
        int8Array(rows.map((row) => row.version)),
        int8Array(rows.map((row) => (row.leaseId === 0n ? undefined : row.leaseId))),
        int8Array(rows.map((row) => (row.txnLast === 0 ? undefined : row.txnLast))),
      ],
    ]);
  }
  steps.push(...leaseSteps(leases, changeSeq));
  for (const [name, value] of settings) {
    steps.push(value === undefined ? [sql.removeSetting, [name]] : [sql.setSetting, [name, value]]);
  }
  if (compactedRevision !== undefined) steps.push([sql.compact, [compactedRevision]]);
  const memberId = batch.memberId.toString();
  steps.push(
    [sql.seal, [batch.lastId, changeSeq, compactedRevision ?? -1, memberId, batch.batchNumber, memberId, batch.era]],
    [sql.commit],
  );
  return steps;
}

/** The last change of each lease counts, but a grant stays one. */
function leaseSteps(leases: readonly LeaseChange[], changeSeq: number): Step[] {
  const steps: Step[] = [];
  const granted = leases.filter((change) => change.kind === "grant");
  const ids = (kind: LeaseChange["kind"]): bigint[] => [
    ...new Set(leases.filter((change) => change.kind === kind).map(({ id }) => id)),
  ];
  if (granted.length > 0) {
    const ttls = granted.map(({ ttlSeconds }) => ttlSeconds);
    steps.push([sql.grantLeases, [int8Array(granted.map(({ id }) => id)), int8Array(ttls), changeSeq]]);
  }
  const renewed = ids("renew");
  if (renewed.length > 0) steps.push([sql.renewLeases, [int8Array(renewed), changeSeq]]);
  const revoked = ids("revoke");
  if (revoked.length > 0) steps.push([sql.revokeLeases, [int8Array(revoked), changeSeq]]);
  return steps;
}

function toLeaseChange([id, ttl, revoked, isNew]: TextRow): LeaseChange {
  if (revoked === "t") return { kind: "revoke", id: BigInt(id!) };
  return isNew === "t"
    ? { kind: "grant", id: BigInt(id!), ttlSeconds: Number(ttl) }
    : { kind: "renew", id: BigInt(id!) };
}

function toSettings(rows: TextRow[]): Map<string, string> {
  return new Map(rows.map(([name, value]) => [name!, value ?? ""]));
}

function toPage(raw: TextRow[], withValue: boolean): RowPage {
  const rows: StoredRow[] = [];
  for (const columns of raw) {
    const row = toStoredRow(toColumns(columns), withValue);
    if (row !== undefined) rows.push(row);
  }
  const last = raw.at(-1);
  return { rows, seen: raw.length, lastId: last === undefined ? undefined : Number(last[0]) };
}

function toColumns(row: TextRow): KineColumns {
  const value = row[10];
  return {
    id: Number(row[0]),
    name: decodeName(row[1] ?? ""),
    created: row[2] === "1",
    deleted: row[3] === "1",
    createRevision: Number(row[4] ?? 0),
    previousId: Number(row[5] ?? 0),
    leaseTtlSeconds: Number(row[6] ?? 0),
    version: Number(row[7] ?? 0),
    leaseId: row[8] === null ? 0n : BigInt(row[8]!),
    txnLast: Number(row[9] ?? 0),
    value: value === null || value === undefined ? null : decodeBytea(value),
  };
}

function toValue(name: string, value: string | null): Uint8Array {
  return value === null ? new Uint8Array(0) : clientValue(decodeName(name), decodeBytea(value));
}

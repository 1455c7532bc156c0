import type { Logger, Registry } from "@keelson/service";
import type { StoredLease, StoredRow } from "./append-log.ts";
import { commitSteps } from "./sql/postgres-batch.ts";
import type { PostgresEndpoint } from "./sql/postgres-endpoint.ts";
import { PostgresLink, type Statement, type Step, type TextRow } from "./sql/postgres-link.ts";
import { toLeaseChange, toLoadedRow, toPage, toSettings, toValue } from "./sql/postgres-rows.ts";
import { lockClass, openPostgres } from "./sql/postgres-schema.ts";
import { channel, copied, sql } from "./sql/postgres-statements.ts";
import { PostgresVacuum } from "./sql/postgres-vacuum.ts";
import { encodeName, int8Array } from "./sql/postgres-values.ts";
import { ReusedBytes } from "./sql/reused-bytes.ts";
import {
  type Cursor,
  type Look,
  type MemberRow,
  type OpenedDatabase,
  type PageEnd,
  type SequencedBatch,
  type SqlDatabase,
  SqlFailure,
} from "./sql/sql-database.ts";
import { SqlObserver } from "./sql/sql-observer.ts";

const statementTimeoutMs = 5_000;
/** Loads and hand-backs move many rows at a time. */
const bulkTimeoutMs = 60_000;
/** A btree entry may take up a third of a page; what remains beside prev_revision and the headers. */
const maxStoredNameBytes = 2_650;
export interface PostgresDatabaseOptions {
  endpoint: PostgresEndpoint;
  log: Logger;
  registry: Registry;
  /** Statements that take longer are logged (1000). */
  slowQueryMs?: number | undefined;
}

/**
 * The statements for PostgreSQL 13 and newer. Four connections: one writes, one looks and listens, one reads values, one
 * deletes and loads; so none of them waits for another's work. A fifth vacuums when that is due.
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
  readonly #vacuum: PostgresVacuum;
  readonly #values = new ReusedBytes();
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
    this.#vacuum = new PostgresVacuum(common);
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

  async loadRows(afterId: number, limit: number, onRow: (row: StoredRow) => void): Promise<PageEnd> {
    const end: PageEnd = { seen: 0, lastId: undefined };
    await this.#bulk.copy(copied.loadRows(afterId, limit), (columns) => {
      end.seen++;
      end.lastId = columns.integer(0);
      const row = toLoadedRow(columns);
      if (row !== undefined) onRow(row);
    });
    return end;
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
    this.#vacuum.noteDeleted(ids.length);
  }

  async values(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    const found = new Map<number, Uint8Array>();
    this.#values.reuse();
    await this.#reader.copy(copied.values(ids), (row) => {
      if (row.integer(2) === 1) return;
      const value = row.bytes(3);
      found.set(row.integer(0), toValue(row.text(1), value && this.#values.copy(value)));
    });
    return ids.map((id) => found.get(id));
  }

  /** What dead rows take is counted as free: vacuum gives it back to the table, not to the file system. */
  async size(): Promise<{ total: number; inUse: number }> {
    const [row] = await this.#bulk.query(sql.size);
    const [total = 0, table = 0, live = 0, dead = 0] = row!.map(Number);
    return { total, inUse: Math.round(total - table * (live + dead > 0 ? dead / (live + dead) : 0)) };
  }

  async defragment(): Promise<void> {
    await this.#vacuum.full();
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
    const closed = [this.#writer, this.#watcher, this.#reader, this.#bulk, this.#vacuum].map((link) => link.close());
    await Promise.all(closed);
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

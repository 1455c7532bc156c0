import type { Logger, Registry } from "@keelson/service";
import type { StoredLease, StoredRow } from "./append-log.ts";
import { clientValue } from "./sql/kine-row.ts";
import { commitStatements, copyOldValues, now, touchMember } from "./sql/mysql-batch.ts";
import type { MysqlEndpoint } from "./sql/mysql-endpoint.ts";
import { type CellRow, idleInTransactionSeconds, MysqlLink } from "./sql/mysql-link.ts";
import { packScripts, quoteBytes } from "./sql/mysql-literals.ts";
import { toBigInt, toBytes, toLeaseChange, toName, toNumber, toPage, toRow, toSettings } from "./sql/mysql-rows.ts";
import { maxNameBytes, openMysql } from "./sql/mysql-schema.ts";
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

const timeoutMs = 6_000;
/** Loads and hand-backs move many rows at a time; rebuilding a large table takes minutes. */
const bulkTimeoutMs = 60_000;
const rebuildTimeoutMs = 3_600_000;
const purgeStepRows = 500;
/** A member is alive while its last sign is younger than this, and forgotten when it is older than that. */
const memberLifetime = "INTERVAL 30 SECOND";
const memberMemory = "INTERVAL 1 HOUR";

const headColumns = "id, name, created, deleted, create_revision, prev_revision, lease, version, lease_id, txn_last";
const headOf = "SELECT last_id, change_seq, compacted, era, @@global.read_only FROM keelson_sequencer WHERE id = 1";
const newestRow = "SELECT MAX(id) FROM kine";

export interface MysqlDatabaseOptions {
  endpoint: MysqlEndpoint;
  log: Logger;
  registry: Registry;
  /** Statements that take longer are logged (1000). */
  slowQueryMs?: number | undefined;
}

/**
 * The statements for MySQL 8, MariaDB 10.6 and newer. The sequencer lock is the one row of `keelson_sequencer`, taken FOR
 * UPDATE under READ COMMITTED. Four connections: one writes, one looks, one reads values, one deletes and loads; so none
 * of them waits for another's work.
 */
export class MysqlDatabase implements SqlDatabase {
  readonly kind = "mysql";
  readonly notified = false;
  readonly #options: MysqlDatabaseOptions;
  readonly #writer: MysqlLink;
  readonly #watcher: MysqlLink;
  readonly #reader: MysqlLink;
  readonly #bulk: MysqlLink;
  readonly #observer: SqlObserver;
  #visibleMeansDurable = false;
  #maxScriptBytes = 0;
  /** In front of and behind each transaction, so that the server ends one whose owner has stopped. */
  #guard = { begin: "", end: "" };
  #inTransaction = false;
  /** The writer's connection that holds the lock. */
  #lockGeneration = 0;

  constructor(options: MysqlDatabaseOptions) {
    this.#options = options;
    const { endpoint, log, registry, slowQueryMs } = options;
    this.#observer = new SqlObserver({ log, registry, slowQueryMs });
    const common = { endpoint, observer: this.#observer, log, timeoutMs };
    this.#writer = new MysqlLink({ ...common, role: "writer" });
    this.#watcher = new MysqlLink({ ...common, role: "watcher" });
    this.#reader = new MysqlLink({ ...common, role: "reader" });
    this.#bulk = new MysqlLink({ ...common, role: "bulk", timeoutMs: bulkTimeoutMs });
  }

  get visibleMeansDurable(): boolean {
    return this.#visibleMeansDurable;
  }

  async open(): Promise<OpenedDatabase> {
    const { endpoint, log } = this.#options;
    const opened = await openMysql(endpoint, log);
    this.#visibleMeansDurable = opened.visibleMeansDurable;
    this.#maxScriptBytes = opened.maxScriptBytes;
    if (!opened.endsIdleTransactions) {
      this.#guard = {
        begin: `SET SESSION wait_timeout = ${idleInTransactionSeconds}; `,
        end: "; SET SESSION wait_timeout = DEFAULT",
      };
    }
    await this.#bulk.run(
      "ForgetLeases",
      `DELETE FROM keelson_lease WHERE revoked = 1 AND changed_at < ${opened.changeSeq}`,
    );
    return opened;
  }

  async loadRows(afterId: number, limit: number, onRow: (row: StoredRow) => void): Promise<PageEnd> {
    const end: PageEnd = { seen: 0, lastId: undefined };
    const text = `SELECT ${headColumns} FROM kine WHERE id > ${afterId} ORDER BY id LIMIT ${limit}`;
    await this.#bulk.stream("GetRevisionAfter", text, (columns) => {
      end.seen++;
      end.lastId = toNumber(columns[0]);
      const row = toRow(columns, false);
      if (row !== undefined) onRow(row);
    });
    return end;
  }

  async loadLeases(): Promise<StoredLease[]> {
    const [rows] = await this.#bulk.run("Leases", "SELECT id, ttl FROM keelson_lease WHERE revoked = 0");
    return rows!.map(([id, ttl]) => ({ id: toBigInt(id), ttlSeconds: toNumber(ttl) }));
  }

  async settings(): Promise<Map<string, string>> {
    const [rows] = await this.#watcher.run("Settings", "SELECT name, value FROM keelson_meta");
    return toSettings(rows!);
  }

  async look(from: Cursor, limit: number): Promise<Look> {
    // The head first: whatever it promises the later statements find.
    const script = `${headOf}; ${newestRow}; ${rowsAfter(from.id, limit)}`;
    const [head, newest, rows] = await this.#watcher.run("GetRevisionAfterVal", script);
    return this.#toLook(this.#watcher, from, head!, newest!, rows!);
  }

  async lock(from: Cursor, limit: number): Promise<Look> {
    this.#inTransaction = true;
    const script = `${this.#guard.begin}START TRANSACTION; ${headOf} FOR UPDATE; ${newestRow}; ${rowsAfter(from.id, limit)}`;
    const [head, newest, rows] = (await this.#writer.run("Lock", script)).slice(-3);
    this.#lockGeneration = this.#writer.generation;
    // An administrator's account may write to a read-only server, which is then a replica or about to become one.
    if (toNumber(head![0]?.[4]) !== 0) throw new SqlFailure("the MySQL server is read-only", "refused", undefined);
    return this.#toLook(this.#writer, from, head!, newest!, rows!);
  }

  async commit(batch: SequencedBatch): Promise<void> {
    const maxBytes = this.#maxScriptBytes;
    for (const script of packScripts(commitStatements(batch, maxBytes), `COMMIT${this.#guard.end}`, maxBytes)) {
      await this.#writer.run("Insert", script, this.#lockGeneration);
    }
    this.#inTransaction = false;
  }

  unlock(): void {
    if (!this.#inTransaction) return;
    this.#inTransaction = false;
    this.#writer.post(`ROLLBACK${this.#guard.end}`);
  }

  async lastBatch(memberId: bigint): Promise<number> {
    const text = `SELECT batch FROM keelson_member WHERE id = ${memberId}`;
    const [rows] = await this.#writer.run("LastBatch", text, this.#lockGeneration);
    return toNumber(rows![0]?.[0]);
  }

  /** InnoDB shows a commit before its log is on disk; a commit of our own after it takes the log there. */
  async makeDurable(memberId: bigint): Promise<void> {
    if (this.#visibleMeansDurable) return;
    await this.#watcher.run(
      "Flush",
      `${touchMember(memberId)} ON DUPLICATE KEY UPDATE seen_at = ${now}, flushes = flushes + 1`,
    );
  }

  async purge(ids: readonly number[]): Promise<void> {
    // In order, so that two replicas that delete the same rows do not lock each other out.
    const sorted = [...ids].sort((a, b) => a - b);
    for (let at = 0; at < sorted.length; at += purgeStepRows) {
      const step = sorted.slice(at, at + purgeStepRows);
      await this.#bulk.run("Compact", `DELETE FROM kine WHERE id IN (${step.join()})`);
    }
  }

  async values(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    if (ids.length === 0) return [];
    const text = `SELECT id, name, deleted, value FROM kine WHERE id IN (${ids.join()})`;
    const [rows] = await this.#reader.run("GetVal", text);
    const found = new Map<number, Uint8Array>();
    for (const [id, name, deleted, value] of rows!) {
      if (toNumber(deleted) !== 1)
        found.set(toNumber(id), clientValue(toName(name), toBytes(value) ?? new Uint8Array(0)));
    }
    return ids.map((id) => found.get(id));
  }

  async size(): Promise<{ total: number; inUse: number }> {
    const [rows] = await this.#bulk.run(
      "GetSize",
      "SELECT data_length + index_length, data_free FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'kine'",
    );
    const [inUse = 0, free = 0] = (rows![0] ?? []).map(toNumber);
    return { total: inUse + free, inUse };
  }

  /** Rebuilds the table beside itself while it is written to. */
  async defragment(): Promise<void> {
    const { endpoint, log } = this.#options;
    const link = new MysqlLink({
      endpoint,
      log,
      observer: this.#observer,
      role: "rebuild",
      timeoutMs: rebuildTimeoutMs,
    });
    try {
      await link.run("Optimize", "OPTIMIZE TABLE kine");
    } finally {
      await link.close();
    }
  }

  async beat(member: { id: bigint; name: string; clientUrls: readonly string[] }): Promise<MemberRow[]> {
    const name = quoteBytes(Buffer.from(member.name));
    const urls = quoteBytes(Buffer.from(JSON.stringify(member.clientUrls)));
    const [, rows] = await this.#bulk.run(
      "Beat",
      `INSERT INTO keelson_member (id, name, client_urls, batch, seen_at) VALUES (${member.id}, ${name}, ${urls}, 0, ${now})
       ON DUPLICATE KEY UPDATE name = ${name}, client_urls = ${urls}, seen_at = ${now};
      SELECT id, name, client_urls FROM keelson_member WHERE seen_at > ${now} - ${memberLifetime} ORDER BY id`,
    );
    return rows!.map(([id, storedName, storedUrls]) => ({
      id: toBigInt(id),
      name: String(storedName),
      clientUrls: JSON.parse(String(storedUrls)) as string[],
    }));
  }

  async forgetMember(id: bigint): Promise<void> {
    await this.#bulk.run(
      "ForgetMembers",
      `DELETE FROM keelson_member WHERE id = ${id} OR seen_at < ${now} - ${memberMemory}`,
    );
  }

  async handBack(afterId: number, limit: number): Promise<number> {
    const [rows] = await this.#bulk.run(
      "AfterOldVal",
      `SELECT k.id FROM kine k JOIN kine p ON p.id = k.prev_revision WHERE k.id > ${afterId} AND k.old_value IS NULL
       AND k.name <> 'compact_rev_key' AND p.value IS NOT NULL ORDER BY k.id DESC LIMIT ${limit}`,
    );
    const ids = rows!.map(([id]) => toNumber(id));
    if (ids.length > 0) await this.#bulk.run("AfterOldVal", copyOldValues(ids));
    return ids.length;
  }

  onNotify(): void {}

  fitsKey(key: string): boolean {
    return key.length < maxNameBytes;
  }

  async close(): Promise<void> {
    await Promise.all([this.#writer.close(), this.#watcher.close(), this.#reader.close(), this.#bulk.close()]);
  }

  async #toLook(link: MysqlLink, from: Cursor, head: CellRow[], newest: CellRow[], rows: CellRow[]): Promise<Look> {
    if (head.length === 0) throw new SqlFailure("the table keelson_sequencer has lost its row", "refused", undefined);
    const [lastId = 0, changeSeq = 0, compacted = 0, era = 0] = head[0]!.map(toNumber);
    const end = Math.max(lastId, toNumber(newest[0]?.[0]));
    const look: Look = {
      lastId: end,
      changeSeq,
      compactedRevision: compacted,
      era,
      // A row beyond the head may name a lease that the head does not know of yet.
      page: toPage(
        rows.filter(([id]) => toNumber(id!) <= end),
        true,
      ),
      leases: [],
      settings: undefined,
    };
    if (changeSeq === from.changeSeq) return look;
    const [leases, settings] = await link.run(
      "LeasesAfter",
      `SELECT id, ttl, revoked, granted_at > ${from.changeSeq} FROM keelson_lease WHERE changed_at > ${from.changeSeq} ORDER BY changed_at;
       SELECT name, value FROM keelson_meta`,
    );
    look.leases = leases!.map(toLeaseChange);
    look.settings = toSettings(settings!);
    return look;
  }
}

function rowsAfter(afterId: number, limit: number): string {
  return `SELECT ${headColumns}, value FROM kine WHERE id > ${afterId} ORDER BY id LIMIT ${limit}`;
}

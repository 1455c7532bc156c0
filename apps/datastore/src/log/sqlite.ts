import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { getCompileCacheDir } from "node:module";
import { dirname } from "node:path";
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { Worker } from "node:worker_threads";
import { KeelsonError, type Logger } from "@keelson/service";
import type { Key } from "../engine/version.ts";
import {
  type AppendLog,
  type ForeignSink,
  type LogBatch,
  type LogMember,
  type LogState,
  type LogTurn,
  LogUnavailableError,
  type StoredLease,
  type StoredRow,
} from "./append-log.ts";
import { compactRow, isGapRow, keyOfName, unwrapCompactValue } from "./kine-names.ts";
import type { SqlObserver } from "./sql/sql-observer.ts";
import { packBatch } from "./sqlite-batch.ts";
import { openSqlite } from "./sqlite-schema.ts";
import type { WriterAnswer, WriterRequest } from "./sqlite-writer.ts";

/** Batches on their way at once: one commits while the next is evaluated; more would only make batches smaller. */
const maxBatchesInFlight = 2;
/** Rows per hand-back step, and how many of the newest rows get kine's old_value at a clean stop. */
const handBackStepRows = 1_000;
const handBackRows = 20_000;
/** Pages freed per vacuum step: a few milliseconds of the writer. */
const vacuumStepPages = 256;

const rowColumns =
  "id, name, created, deleted, create_revision, prev_revision, lease, version, CAST(lease_id AS TEXT), txn_last";

type RowTuple = [
  id: number,
  name: string,
  created: number | null,
  deleted: number | null,
  createRevision: number | null,
  previousId: number | null,
  lease: number | null,
  version: number | null,
  leaseId: string | null,
  txnLast: number | null,
  value?: Uint8Array | null,
];

export interface SqliteLogOptions {
  /** File path; its folder is made if need be. */
  path: string;
  log: Logger;
  /** Counts and times commits, and logs the slow ones. */
  observer?: SqlObserver;
}

/**
 * The log in a SQLite file that this process owns: a writer thread (see sqlite-writer.ts) and a reading connection here,
 * on the main thread, where a read of one row costs less than asking another thread would.
 */
export class SqliteLog implements AppendLog {
  readonly kind = "sqlite";
  readonly exclusive = true;
  readonly #options: SqliteLogOptions;
  #ownership: DatabaseSync | undefined;
  #reader: DatabaseSync | undefined;
  #readValue: StatementSync | undefined;
  #readNameBytes: StatementSync | undefined;
  #writer: Worker | undefined;
  #writerGone: Error | undefined;
  /** Requests the writer has not answered, oldest first: it answers in order. */
  readonly #unanswered: { resolve: (answer: WriterAnswer) => void; reject: (error: Error) => void }[] = [];
  #commitsInFlight = 0;
  #slotWaiters: (() => void)[] = [];
  /** A commit failed; what the file really holds must be looked up before the next batch. */
  #uncertain = false;
  #memberId = 0n;
  #compacted = -1;
  /** Newest row known to be committed. */
  #newestId = 0;
  #sink: ForeignSink | undefined;
  #member: { name: string; clientUrls: string[] } = { name: "keelson", clientUrls: [] };
  readonly #turn: LogTurn = { commit: (batch) => this.#commit(batch), release: () => {} };

  constructor(options: SqliteLogOptions) {
    this.#options = options;
  }

  async open(sink: ForeignSink): Promise<LogState> {
    this.#sink = sink;
    const { path } = this.#options;
    mkdirSync(dirname(path), { recursive: true });
    this.#ownership = takeOwnership(path);
    const state = openSqlite(path);
    this.#memberId = state.memberId;
    this.#compacted = state.compactedRevision;
    this.#newestId = state.currentRevision;
    this.#reader = new DatabaseSync(path);
    this.#reader.exec("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA cache_size = -4096");
    this.#readValue = this.#reader.prepare("SELECT value, name FROM kine WHERE id = ?");
    this.#readValue.setReturnArrays(true);
    this.#readNameBytes = this.#reader.prepare("SELECT CAST(name AS BLOB) FROM kine WHERE id = ?");
    this.#readNameBytes.setReturnArrays(true);
    await this.#startWriter();
    return state;
  }

  async load(onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void> {
    const leases = this.#database().prepare("SELECT id, ttl FROM keelson_lease");
    leases.setReadBigInts(true);
    for (const row of leases.all() as { id: bigint; ttl: bigint }[]) {
      onLease({ id: row.id, ttlSeconds: Number(row.ttl) });
    }
    this.#forEachRow(`SELECT ${rowColumns} FROM kine ORDER BY id`, [], onRow);
  }

  acquire(): LogTurn | Promise<LogTurn> {
    if (this.#writerGone !== undefined) return this.#restartWriter();
    if (this.#uncertain) return this.#settle();
    if (this.#commitsInFlight < maxBatchesInFlight) return this.#turn;
    return new Promise<void>((resolve) => this.#slotWaiters.push(resolve)).then(() => this.acquire());
  }

  /** What the file holds above a row must be looked up before the next batch: a commit's fate is unknown. */
  protected distrust(newestCertainId = this.#newestId): void {
    this.#uncertain = true;
    this.#newestId = newestCertainId;
  }

  readIndex(): undefined {
    return undefined;
  }

  announce(member: { name: string; clientUrls: readonly string[] }): void {
    this.#member = { name: member.name, clientUrls: [...member.clientUrls] };
  }

  readValues(ids: readonly number[]): (Uint8Array | undefined)[] {
    const values = new Array<Uint8Array | undefined>(ids.length);
    for (let at = 0; at < ids.length; at++) {
      const row = this.#readValue!.get(ids[at]!) as unknown as [Uint8Array | null, string] | undefined;
      if (row !== undefined) values[at] = storedValue(row[1], row[0]);
    }
    return values;
  }

  size(): { total: number; inUse: number } {
    const db = this.#database();
    const pageSize = db.prepare("PRAGMA page_size").get()!.page_size as number;
    const pages = db.prepare("PRAGMA page_count").get()!.page_count as number;
    const free = db.prepare("PRAGMA freelist_count").get()!.freelist_count as number;
    return { total: pages * pageSize, inUse: (pages - free) * pageSize };
  }

  async defragment(): Promise<void> {
    for (let left = Number.POSITIVE_INFINITY; ; ) {
      const { value } = await this.#ask({ kind: "vacuum", pages: vacuumStepPages });
      // A file that was not made with incremental vacuum never shrinks; neither does one without free pages.
      if (value === undefined || value === 0 || value >= left) return;
      left = value;
    }
  }

  members(): LogMember[] {
    return [{ id: this.#memberId, ...this.#member }];
  }

  async close(): Promise<void> {
    try {
      if (this.#writer !== undefined && this.#writerGone === undefined) await this.#closeWriter();
    } finally {
      this.#reader?.close();
      this.#reader = undefined;
      this.#ownership?.close();
      this.#ownership = undefined;
    }
  }

  async #closeWriter(): Promise<void> {
    const exited = once(this.#writer!, "exit");
    for (let done = 0; done < handBackRows; done += handBackStepRows) {
      const step = { kind: "handBack", afterId: this.#compacted, limit: handBackStepRows } as const;
      const { value, error } = await this.#ask(step);
      if (error !== undefined) this.#options.log.warn({ err: error }, "could not copy previous values for kine");
      if (value === undefined || value < handBackStepRows) break;
    }
    await this.#ask({ kind: "close" });
    await exited;
  }

  async #startWriter(): Promise<void> {
    const compileCache = getCompileCacheDir();
    const writer = new Worker(new URL("./sqlite-writer.ts", import.meta.url), {
      workerData: { path: this.#options.path },
      // Without the cache the thread would load the type stripper for itself: 30 MiB and half a second.
      env: compileCache === undefined ? process.env : { ...process.env, NODE_COMPILE_CACHE: dirname(compileCache) },
      resourceLimits: { maxYoungGenerationSizeMb: 8 },
    });
    this.#writer = writer;
    this.#writerGone = undefined;
    writer.on("message", (answer: WriterAnswer) => this.#unanswered.shift()?.resolve(answer));
    writer.on("error", (error) => this.#loseWriter(error));
    writer.on("exit", (code) => this.#loseWriter(new Error(`the SQLite writer thread ended with code ${code}`)));
    await this.#ask({ kind: "reset" });
  }

  #loseWriter(error: Error): void {
    this.#writerGone ??= error;
    for (const request of this.#unanswered.splice(0)) request.reject(error);
  }

  async #restartWriter(): Promise<LogTurn> {
    try {
      await this.#startWriter();
    } catch (error) {
      throw new LogUnavailableError("the SQLite writer cannot start", error);
    }
    return this.#settle();
  }

  /** After a failure: waits until nothing is under way, then tells the engine what the file holds. */
  async #settle(): Promise<LogTurn> {
    await this.#ask({ kind: "reset" });
    const rows: StoredRow[] = [];
    const sql = `SELECT ${rowColumns}, value FROM kine WHERE id > ? ORDER BY id`;
    try {
      this.#forEachRow(sql, [this.#newestId], (row) => rows.push(row));
      const { revision } = this.#database()
        .prepare("SELECT MAX(prev_revision) AS revision FROM kine WHERE name = ?")
        .get(compactRow) as { revision: number };
      this.#compacted = revision > 0 ? revision : -1;
      this.#newestId = rows.at(-1)?.id ?? this.#newestId;
      this.#uncertain = false;
      this.#sink!.apply({ rows, leases: [], settings: new Map(), compactedRevision: this.#compacted });
      return this.#turn;
    } catch (error) {
      throw new LogUnavailableError("the SQLite database cannot be read", error);
    }
  }

  async #commit(batch: LogBatch): Promise<void> {
    const packed = packBatch(batch);
    this.#commitsInFlight++;
    const send = async (): Promise<void> => {
      const { error } = await this.#ask({ kind: "commit", batch: packed }, [packed.buffer]);
      if (error !== undefined) throw new LogUnavailableError("the SQLite commit failed", new Error(error));
    };
    try {
      await (this.#options.observer?.watch("Commit", send) ?? send());
      if (batch.compactedRevision !== undefined) this.#compacted = batch.compactedRevision;
      this.#newestId = batch.rows.at(-1)?.id ?? this.#newestId;
    } catch (error) {
      this.distrust();
      throw error instanceof LogUnavailableError ? error : new LogUnavailableError("the SQLite commit failed", error);
    } finally {
      this.#commitsInFlight--;
      for (const waiter of this.#slotWaiters.splice(0)) waiter();
    }
  }

  #ask(request: WriterRequest, transfer: ArrayBuffer[] = []): Promise<WriterAnswer> {
    return new Promise((resolve, reject) => {
      if (this.#writerGone !== undefined) return reject(this.#writerGone);
      this.#unanswered.push({ resolve, reject });
      this.#writer!.postMessage(request, transfer);
    });
  }

  #database(): DatabaseSync {
    if (this.#reader === undefined) throw new LogUnavailableError("the SQLite database is closed", undefined);
    return this.#reader;
  }

  #forEachRow(sql: string, parameters: number[], onRow: (row: StoredRow) => void): void {
    const statement = this.#database().prepare(sql);
    statement.setReturnArrays(true);
    for (const raw of statement.iterate(...parameters)) {
      const tuple = raw as unknown as RowTuple;
      const name = tuple[1];
      if (name === compactRow) continue;
      if (isGapRow(name, tuple[2] === 1, tuple[3] === 1, tuple[5] ?? 0)) continue;
      onRow(this.#storedRow(tuple));
    }
  }

  #storedRow(tuple: RowTuple): StoredRow {
    const id = tuple[0];
    const name = this.#nameBytes(id, tuple[1]);
    const value = tuple[10];
    return {
      id,
      key: keyOfName(name),
      created: tuple[2] === 1,
      deleted: tuple[3] === 1,
      createRevision: tuple[4] ?? 0,
      leaseTtlSeconds: tuple[6] ?? 0,
      leaseId: tuple[8] === null ? 0n : BigInt(tuple[8]),
      version: tuple[7] ?? 0,
      txnLast: tuple[9] ?? 0,
      ...(value === null || value === undefined ? {} : { value: storedValue(name, value) }),
    };
  }

  /** Text comes back decoded as UTF-8; a key is its bytes. */
  #nameBytes(id: number, name: string): Key {
    if (/^[\0-\x7f]*$/.test(name)) return name;
    const row = this.#readNameBytes!.get(id) as unknown as [Uint8Array] | undefined;
    return row === undefined ? Buffer.from(name).toString("latin1") : Buffer.from(row[0]).toString("latin1");
  }
}

function storedValue(name: string, value: Uint8Array | null): Uint8Array {
  if (value === null) return new Uint8Array(0);
  return keyOfName(name) === compactRow ? unwrapCompactValue(value).value : value;
}

/**
 * Two servers on one file would hand out the same revisions, so the owner holds an exclusive transaction on a small
 * file beside it for as long as it lives; the operating system lets go of it however the process ends.
 */
function takeOwnership(path: string): DatabaseSync | undefined {
  try {
    const lock = new DatabaseSync(`${path}-owner`);
    lock.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE");
    return lock;
  } catch (error) {
    if (error instanceof Error && /locked|busy/.test(error.message)) {
      throw new KeelsonError("datastore/in-use", `another process owns the SQLite database ${path}`, {
        hint: "stop it, or give this one another path; to run several replicas use PostgreSQL or MySQL",
        cause: error,
      });
    }
    return undefined;
  }
}

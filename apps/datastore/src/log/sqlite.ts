import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import type { Logger, Ownership } from "@keelson/service";
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
import type { SqlObserver } from "./sql/sql-observer.ts";
import { packBatch } from "./sqlite-batch.ts";
import { sqliteOwnership } from "./sqlite-ownership.ts";
import { SqliteReader } from "./sqlite-reader.ts";
import { openSqlite } from "./sqlite-schema.ts";
import { SqliteWriterLink } from "./sqlite-writer-link.ts";

/** Batches on their way at once: one commits while the next is evaluated; more would only make batches smaller. */
const maxBatchesInFlight = 2;
/** Rows per hand-back step, and how many of the newest rows get kine's old_value at a clean stop. */
const handBackStepRows = 1_000;
const handBackRows = 20_000;
/** How often a full disk is looked at. */
const fullCheckMs = 1_000;
/** Pages freed per vacuum step: a few milliseconds of the writer. */
const vacuumStepPages = 256;

export interface SqliteLogOptions {
  /** File path; its folder is made if need be. */
  path: string;
  log: Logger;
  /** Counts and times commits, and logs the slow ones. */
  observer?: SqlObserver;
}

/** The log in a SQLite file that this process owns: a thread writes, the main thread reads. */
export class SqliteLog implements AppendLog {
  readonly kind = "sqlite";
  readonly exclusive = true;
  readonly #options: SqliteLogOptions;
  readonly #writer: SqliteWriterLink;
  readonly #ownership: Ownership;
  #opened: SqliteReader | undefined;
  #commitsInFlight = 0;
  #slotWaiters: (() => void)[] = [];
  /** A commit failed; what the file really holds must be looked up before the next batch. */
  #uncertain = false;
  #isFull = false;
  #nextFullCheckMs = 0;
  #memberId = 0n;
  #compacted = -1;
  /** Newest row known to be committed. */
  #newestId = 0;
  #sink: ForeignSink | undefined;
  #member: { name: string; clientUrls: string[] } = { name: "keelson", clientUrls: [] };
  readonly #turn: LogTurn = { commit: (batch) => this.#commit(batch), release: () => {} };

  constructor(options: SqliteLogOptions) {
    this.#options = options;
    this.#writer = new SqliteWriterLink(options.path);
    this.#ownership = sqliteOwnership(options.path);
  }

  async open(sink: ForeignSink): Promise<LogState> {
    this.#sink = sink;
    const { path } = this.#options;
    mkdirSync(dirname(path), { recursive: true });
    await this.#ownership.start();
    const state = openSqlite(path);
    this.#memberId = state.memberId;
    this.#compacted = state.compactedRevision;
    this.#newestId = state.currentRevision;
    this.#opened = new SqliteReader(path);
    await this.#writer.start();
    await this.#checkFull();
    return state;
  }

  async load(onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void> {
    for (const lease of this.#reader.leases()) onLease(lease);
    this.#reader.allRows(onRow);
  }

  acquire(): LogTurn | Promise<LogTurn> {
    if (this.#writer.isGone) return this.#restartWriter();
    if (this.#uncertain) return this.#settle();
    if (this.#isFull && performance.now() >= this.#nextFullCheckMs) return this.#checkFull().then(() => this.acquire());
    if (this.#commitsInFlight < maxBatchesInFlight) return this.#turn;
    return new Promise<void>((resolve) => this.#slotWaiters.push(resolve)).then(() => this.acquire());
  }

  /** What the file holds above a row must be looked up before the next batch: a commit's fate is unknown. */
  protected distrust(newestCertainId = this.#newestId): void {
    this.#uncertain = true;
    this.#newestId = newestCertainId;
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  readIndex(): undefined {
    return undefined;
  }

  announce(member: { name: string; clientUrls: readonly string[] }): void {
    this.#member = { name: member.name, clientUrls: [...member.clientUrls] };
  }

  readValues(ids: readonly number[]): (Uint8Array | undefined)[] {
    return this.#reader.values(ids);
  }

  size(): { total: number; inUse: number } {
    return this.#reader.size();
  }

  async defragment(): Promise<void> {
    for (let left = Number.POSITIVE_INFINITY; ; ) {
      const { value } = await this.#writer.ask({ kind: "vacuum", pages: vacuumStepPages });
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
      if (this.#opened !== undefined && !this.#writer.isGone) {
        await this.#handBack();
        await this.#writer.close();
      }
    } finally {
      this.#opened?.close();
      this.#opened = undefined;
      await this.#ownership.stop();
    }
  }

  get #reader(): SqliteReader {
    if (this.#opened === undefined) throw new LogUnavailableError("the SQLite database is closed", undefined);
    return this.#opened;
  }

  /** Gives the newest rows the previous values that kine wants. */
  async #handBack(): Promise<void> {
    for (let done = 0; done < handBackRows; done += handBackStepRows) {
      const step = { kind: "handBack", afterId: this.#compacted, limit: handBackStepRows } as const;
      const { value, error } = await this.#writer.ask(step);
      if (error !== undefined) this.#options.log.warn({ err: error }, "could not copy previous values for kine");
      if (value === undefined || value < handBackStepRows) return;
    }
  }

  async #restartWriter(): Promise<LogTurn> {
    try {
      await this.#writer.start();
    } catch (error) {
      throw new LogUnavailableError("the SQLite writer cannot start", error);
    }
    return this.#settle();
  }

  /** After a failure: waits until nothing is under way, then tells the engine what the file holds. */
  async #settle(): Promise<LogTurn> {
    await this.#writer.ask({ kind: "reset" });
    try {
      const rows = this.#reader.rowsAfter(this.#newestId);
      this.#compacted = this.#reader.compactedRevision();
      this.#newestId = rows.at(-1)?.id ?? this.#newestId;
      this.#uncertain = false;
      this.#sink!.apply({ rows, leases: [], settings: new Map(), compactedRevision: this.#compacted });
      return this.#turn;
    } catch (error) {
      throw new LogUnavailableError("the SQLite database cannot be read", error);
    }
  }

  /** Takes the reserve for the time when the disk is full, or sees that it still is. */
  async #checkFull(): Promise<void> {
    const { value, error } = await this.#writer.ask({ kind: "reserve" });
    if (error !== undefined) this.#options.log.warn({ error }, "cannot reserve disk space for deletions");
    else this.#isFull = value === 0;
    this.#nextFullCheckMs = performance.now() + fullCheckMs;
  }

  async #commit(batch: LogBatch): Promise<void> {
    const packed = packBatch(batch);
    this.#commitsInFlight++;
    const send = async (): Promise<void> => {
      const { error, isFull } = await this.#writer.ask({ kind: "commit", batch: packed }, [packed.buffer]);
      if (isFull) this.#isFull = true;
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
}

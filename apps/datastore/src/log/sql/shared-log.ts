import { randomBytes, randomInt } from "node:crypto";
import { type Clock, errorMessage, type Logger, sleep, type Timer } from "@keelson/service";
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
} from "../append-log.ts";
import { SharedLook } from "./shared-look.ts";
import { type Cursor, type Look, type SequencedBatch, type SqlDatabase, SqlFailure } from "./sql-database.ts";

/** Rows per look and per load step. */
const lookRows = 2_000;
const loadRows = 10_000;
/** How long a commit without an answer is looked for before the client is told that its fate is unknown. */
const resolveCommitMs = 5_000;
/** How long to wait for the lock while another replica or a fail-over holds it up. */
const acquireMs = 5_000;
const retryDelayMs = 50;
const heartbeatMs = 10_000;
/** Poll for rows of other replicas: often while somebody writes, seldom when idle or when NOTIFY does the waking. */
const busyPollMs = 50;
const idlePollMs = 1_000;
const notifiedPollMs = 5_000;
const busyForMs = 3_000;
/** How many of the newest rows get kine's old_value at a clean stop. */
const handBackStepRows = 1_000;
const handBackRows = 20_000;

/** A look, and where it began. */
type CountedLook = Look & { afterId: number };

export interface SharedLogOptions {
  kind: "postgres" | "mysql";
  /** Makes the database's driver; its library is loaded only when it is used. */
  database: () => Promise<SqlDatabase>;
  log: Logger;
  clock: Clock;
}

/**
 * The log in a database server that several replicas share. What makes each of them exact:
 *
 * 1. A batch is written under the sequencer lock, in the transaction that took it, after a look at everything newer than
 *    the *cursor*: the newest row and lease change that the sink has been given. Whoever looked first moves the cursor, so
 *    nothing reaches the sink twice or out of order.
 * 2. While a turn is out nobody else can commit, so what a concurrent look sees above the cursor is this replica's own
 *    commit. Such a look waits for the turn to end.
 * 3. Ids have no holes. A look that finds one has missed rows: compaction was faster, or the database lost commits in a
 *    fail-over. Then everything is loaded anew ({@link ForeignSink.lost}).
 * 4. A commit whose answer got lost is looked for under the lock by this member's batch number, and made again when it is
 *    not there and nobody wrote in between.
 */
export class SharedLog implements AppendLog {
  readonly exclusive = false;
  readonly kind: string;
  readonly #options: SharedLogOptions;
  readonly #memberId = randomBytes(8).readBigUInt64BE() >> 1n || 1n;
  readonly #looks = new SharedLook(() => this.#lookAndAbsorb());
  #connected: SqlDatabase | undefined;
  #sink: ForeignSink | undefined;
  #clusterId = 0n;
  #era = 0;
  #cursor: Cursor = { id: 0, changeSeq: 0 };
  #compacted = -1;
  /** The newest row and change known to be safe on disk. */
  #durable: Cursor = { id: 0, changeSeq: 0 };
  #settings = new Map<string, string>();
  #batchNumber = 0;
  /** Resolves when the turn that is out has ended. */
  #turnEnd: Promise<void> | undefined;
  /** Until the engine has loaded (again), nothing is looked at. */
  #loaded = deferred();
  /** Superseded rows whose deletion failed. They must be gone before new rows take their place. */
  #unpurged: number[] = [];
  #own: { name: string; clientUrls: readonly string[] } = { name: "", clientUrls: [] };
  #members: LogMember[] = [];
  #lastActivityMs = Number.NEGATIVE_INFINITY;
  #heartbeatTimer: Timer | undefined;
  #pollTimer: Timer | undefined;
  #closed = false;

  constructor(options: SharedLogOptions) {
    this.#options = options;
    this.kind = options.kind;
  }

  async open(sink: ForeignSink): Promise<LogState> {
    this.#sink = sink;
    const database = await this.#options.database();
    this.#connected = database;
    const { clusterId, lastId, changeSeq, compactedRevision, era } = await database.open(this.#memberId);
    this.#clusterId = clusterId;
    this.#era = era;
    this.#cursor = { id: lastId, changeSeq };
    this.#durable = this.#cursor;
    this.#compacted = compactedRevision;
    this.#settings = await database.settings();
    database.onNotify(() => this.#wake());
    return this.#state();
  }

  announce(member: { name: string; clientUrls: readonly string[] }): void {
    this.#own = member;
    void this.#beat();
    this.#heartbeatTimer ??= this.#options.clock.setInterval(() => void this.#beat(), heartbeatMs);
  }

  async load(onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void> {
    const end = this.#cursor.id;
    for (let after = 0; after < end; ) {
      const { rows, lastId } = await this.#database.loadRows(after, loadRows);
      for (const row of rows) if (row.id <= end) onRow(row);
      if (lastId === undefined) break;
      after = lastId;
    }
    for (const lease of await this.#database.loadLeases()) onLease(lease);
    this.#loaded.resolve();
    if (this.#pollTimer === undefined) this.#schedulePoll();
  }

  async acquire(): Promise<LogTurn> {
    const { clock } = this.#options;
    await this.#purge([]);
    if (this.#unpurged.length > 0) throw new LogUnavailableError("compacted rows cannot be deleted", undefined);
    const deadlineMs = clock.monotonic() + acquireMs;
    for (;;) {
      await this.#loaded.promise;
      const look = await this.#lock(deadlineMs);
      try {
        await this.#makeDurable(look);
        if (this.#hasLostTrack(look)) await this.#startAnew(look);
        else {
          this.#absorb(look);
          return this.#turn();
        }
      } catch (error) {
        this.#database.unlock();
        throw unavailable("cannot take the write lock", error);
      }
    }
  }

  async readIndex(): Promise<void> {
    await this.#loaded.promise;
    await this.#looks.ask();
  }

  async readValues(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    try {
      return await this.#database.values(ids);
    } catch (error) {
      throw unavailable("cannot read values", error);
    }
  }

  /** Whether the key's stored name fits the database's index. */
  fitsKey(key: string): boolean {
    return this.#database.fitsKey(key);
  }

  async size(): Promise<{ total: number; inUse: number }> {
    return await this.#database.size();
  }

  async defragment(): Promise<void> {
    await this.#database.defragment();
  }

  /** As of the last heartbeat. */
  members(): LogMember[] {
    const own = { id: this.#memberId, name: this.#own.name, clientUrls: [...this.#own.clientUrls] };
    return [own, ...this.#members.filter(({ id }) => id !== this.#memberId)];
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#heartbeatTimer?.cancel();
    this.#pollTimer?.cancel();
    const database = this.#connected;
    if (database === undefined) return;
    try {
      await database.forgetMember(this.#memberId);
      if (this.#members.every(({ id }) => id === this.#memberId)) await this.#handBack();
    } catch (error) {
      this.#options.log.warn({ error: errorMessage(error) }, "could not leave the database tidy");
    } finally {
      await database.close();
    }
  }

  get #database(): SqlDatabase {
    if (this.#connected === undefined) throw new LogUnavailableError("the database is not open", undefined);
    return this.#connected;
  }

  #state(): LogState {
    return {
      clusterId: this.#clusterId,
      memberId: this.#memberId,
      currentRevision: this.#cursor.id,
      compactedRevision: this.#compacted,
      settings: new Map(this.#settings),
    };
  }

  async #handBack(): Promise<void> {
    for (let done = 0; done < handBackRows; done += handBackStepRows) {
      if ((await this.#database.handBack(this.#compacted, handBackStepRows)) < handBackStepRows) return;
    }
  }

  /** Takes the lock and everything new. A long absence is made up for outside of the lock, so that others can write. */
  async #lock(deadlineMs: number): Promise<CountedLook> {
    for (;;) {
      try {
        const start = this.#cursor;
        const rows: StoredRow[] = [];
        let from = start;
        let seen = 0;
        for (;;) {
          const look = await this.#database.lock(from, lookRows);
          rows.push(...look.page.rows);
          seen += look.page.seen;
          if (look.page.seen < lookRows) return { ...look, page: { ...look.page, rows, seen }, afterId: start.id };
          this.#database.unlock();
          const missed = await this.#lookAll({ ...from, id: look.page.lastId ?? from.id });
          rows.push(...missed.page.rows);
          seen += missed.page.seen;
          from = { ...from, id: missed.page.lastId ?? look.page.lastId ?? from.id };
        }
      } catch (error) {
        this.#database.unlock();
        if (!isPassing(error) || this.#isPast(deadlineMs)) throw unavailable("cannot take the write lock", error);
        await sleep(retryDelayMs);
      }
    }
  }

  /** Everything after the cursor, page by page. */
  async #lookAll(from: Cursor): Promise<CountedLook> {
    const look = await this.#database.look(from, lookRows);
    const { page } = look;
    for (let isFull = page.seen >= lookRows; isFull && page.lastId !== undefined; ) {
      const next = await this.#database.look({ ...from, id: page.lastId }, lookRows);
      page.rows.push(...next.page.rows);
      page.seen += next.page.seen;
      page.lastId = next.page.lastId ?? page.lastId;
      look.lastId = next.lastId;
      isFull = next.page.seen >= lookRows;
    }
    return { ...look, afterId: from.id };
  }

  async #lookAndAbsorb(): Promise<void> {
    try {
      const look = await this.#lookAll(this.#cursor);
      await this.#turnIsOver(look);
      await this.#makeDurable(look);
      // A turn may have begun meanwhile; it has then absorbed everything, or has committed on top of it.
      await this.#turnIsOver(look);
      if (this.#hasLostTrack(look)) await this.#startAnewLocked();
      else this.#absorb(look);
    } catch (error) {
      throw unavailable("cannot learn the newest revision", error);
    }
  }

  async #turnIsOver(look: Look): Promise<void> {
    while (this.#isNews(look) && this.#turnEnd !== undefined) await this.#turnEnd;
  }

  async #makeDurable(look: Look): Promise<void> {
    const { id, changeSeq } = this.#durable;
    if (this.#database.visibleMeansDurable || !this.#isNews(look)) return;
    if (look.lastId <= id && look.changeSeq <= changeSeq) return;
    await this.#database.makeDurable(this.#memberId);
    this.#durable = {
      id: Math.max(this.#durable.id, look.lastId),
      changeSeq: Math.max(this.#durable.changeSeq, look.changeSeq),
    };
  }

  #isNews(look: Look): boolean {
    return look.lastId > this.#cursor.id || look.changeSeq > this.#cursor.changeSeq;
  }

  #hasLostTrack(look: CountedLook): boolean {
    if (look.lastId < look.afterId || look.era !== this.#era) return true;
    // Whatever another look took over since has been checked then.
    return this.#isNews(look) && look.lastId - look.afterId > look.page.seen;
  }

  /** Moves the cursor over what the look found and hands it over. Never waits. */
  #absorb(look: CountedLook): void {
    if (!this.#isNews(look)) return;
    const from = this.#cursor;
    const isChanged = look.changeSeq > from.changeSeq;
    this.#cursor = { id: Math.max(from.id, look.lastId), changeSeq: Math.max(from.changeSeq, look.changeSeq) };
    if (isChanged && look.settings !== undefined) this.#settings = look.settings;
    this.#compacted = Math.max(this.#compacted, look.compactedRevision);
    this.#lastActivityMs = this.#options.clock.monotonic();
    this.#sink?.apply({
      rows: look.page.rows.filter(({ id }) => id > from.id),
      leases: isChanged ? look.leases : [],
      compactedRevision: this.#compacted,
      settings: new Map(this.#settings),
    });
  }

  async #startAnewLocked(): Promise<void> {
    while (this.#turnEnd !== undefined) await this.#turnEnd;
    const look = await this.#lock(this.#options.clock.monotonic() + acquireMs);
    if (this.#hasLostTrack(look)) return this.#startAnew(look);
    this.#database.unlock();
    this.#absorb(look);
  }

  /**
   * Under the lock: lets the engine load everything again. Revisions that were given out once are not given out again,
   * even when the database has forgotten them, and a new era tells the other replicas of that.
   */
  async #startAnew(look: CountedLook): Promise<void> {
    const { log } = this.#options;
    let { lastId, changeSeq, era } = look;
    if (lastId < this.#cursor.id) {
      log.error(
        { revision: this.#cursor.id, databaseRevision: lastId },
        "the database went back in time: it was restored, or failed over without its last commits",
      );
      lastId = this.#cursor.id;
      changeSeq = Math.max(changeSeq, this.#cursor.changeSeq) + 1;
      era = randomInt(2 ** 47);
      const batchNumber = ++this.#batchNumber;
      await this.#database.commit({ ...emptyBatch, memberId: this.#memberId, batchNumber, lastId, changeSeq, era });
    } else {
      log.warn(
        { revision: look.afterId, databaseRevision: lastId },
        "rows are gone that were never seen; loading anew",
      );
      this.#database.unlock();
    }
    this.#era = era;
    this.#cursor = { id: lastId, changeSeq };
    this.#durable = this.#cursor;
    this.#compacted = look.compactedRevision;
    this.#settings = await this.#database.settings();
    this.#unpurged = [];
    this.#loaded = deferred();
    this.#sink?.lost(this.#state());
  }

  #turn(): LogTurn {
    const end = deferred();
    this.#turnEnd = end.promise;
    // Looks that wait for the end go on once the engine has seen the outcome.
    const endTurn = (): void =>
      void setImmediate(() => {
        if (this.#turnEnd === end.promise) this.#turnEnd = undefined;
        end.resolve();
      });
    return {
      commit: (batch) => this.#commit(batch).finally(endTurn),
      release: () => {
        this.#database.unlock();
        endTurn();
      },
    };
  }

  async #commit(batch: LogBatch): Promise<void> {
    const { rows, leases, settings, compactedRevision, purgeIds } = batch;
    const isChanged = leases.length > 0 || settings.size > 0 || compactedRevision !== undefined;
    try {
      if (rows.length === 0 && !isChanged) {
        this.#database.unlock();
        return await this.#purge(purgeIds);
      }
      const sequenced: SequencedBatch = {
        memberId: this.#memberId,
        batchNumber: ++this.#batchNumber,
        rows,
        leases,
        settings,
        compactedRevision,
        lastId: rows.at(-1)?.id ?? this.#cursor.id,
        changeSeq: this.#cursor.changeSeq + (isChanged ? 1 : 0),
        era: this.#era,
      };
      // Rows below an earlier compaction may go while the commit waits for the disk; rows below this one only after it.
      const purged = compactedRevision === undefined ? this.#purge(purgeIds) : undefined;
      await Promise.all([this.#write(sequenced), purged]);
      this.#advance(sequenced);
      if (compactedRevision !== undefined) await this.#purge(purgeIds);
    } catch (error) {
      throw unavailable("the commit failed", error);
    }
  }

  #advance(batch: SequencedBatch): void {
    this.#cursor = { id: batch.lastId, changeSeq: batch.changeSeq };
    this.#durable = this.#cursor;
    this.#compacted = batch.compactedRevision ?? this.#compacted;
    for (const [name, value] of batch.settings) {
      if (value === undefined) this.#settings.delete(name);
      else this.#settings.set(name, value);
    }
    this.#lastActivityMs = this.#options.clock.monotonic();
  }

  /** Commits, also when the first tries fail in a way that leaves the database as it was, or when an answer gets lost. */
  async #write(batch: SequencedBatch): Promise<void> {
    const deadlineMs = this.#options.clock.monotonic() + resolveCommitMs;
    let failure: unknown;
    let isUncertain = false;
    try {
      return await this.#database.commit(batch);
    } catch (error) {
      failure = error;
    }
    while (isPassing(failure) || (isUncertain && failure instanceof SqlFailure)) {
      isUncertain ||= failure.fate === "unknown";
      if (this.#isPast(deadlineMs)) break;
      this.#options.log.warn({ error: errorMessage(failure), rows: batch.rows.length }, "a commit is tried again");
      await sleep(retryDelayMs);
      try {
        this.#database.unlock();
        const look = await this.#database.lock(this.#cursor, 1);
        if (isUncertain && (await this.#database.lastBatch(this.#memberId)) === batch.batchNumber) {
          this.#database.unlock();
          return await this.#database.makeDurable(this.#memberId);
        }
        isUncertain = false;
        if (this.#isNews(look)) break;
        return await this.#database.commit(batch);
      } catch (error) {
        failure = error;
      }
    }
    this.#database.unlock();
    throw failure;
  }

  /** Deletes superseded rows, and first those whose deletion failed before. */
  async #purge(ids: readonly number[]): Promise<void> {
    const due = [...this.#unpurged, ...ids];
    if (due.length === 0) return;
    try {
      await this.#database.purge(due);
      this.#unpurged = [];
    } catch (error) {
      this.#unpurged = due;
      this.#options.log.warn({ error: errorMessage(error), rows: due.length }, "could not delete compacted rows yet");
    }
  }

  async #beat(): Promise<void> {
    if (this.#closed) return;
    try {
      this.#members = await this.#database.beat({ id: this.#memberId, ...this.#own });
    } catch (error) {
      this.#options.log.debug({ error: errorMessage(error) }, "the heartbeat failed");
    }
  }

  #schedulePoll(): void {
    if (this.#closed) return;
    const { clock } = this.#options;
    const isBusy = clock.monotonic() - this.#lastActivityMs < busyForMs && this.#members.length > 1;
    const delayMs = this.#database.notified ? notifiedPollMs : isBusy ? busyPollMs : idlePollMs;
    this.#pollTimer = clock.setTimeout(() => {
      this.#poll().then(
        () => this.#schedulePoll(),
        () => this.#schedulePoll(),
      );
    }, delayMs);
  }

  async #poll(): Promise<void> {
    if (this.#turnEnd === undefined) await this.readIndex();
  }

  /** Another replica wrote. Errors are the next request's to report. */
  #wake(): void {
    if (this.#closed) return;
    this.readIndex().catch((error) => {
      this.#options.log.debug({ error: errorMessage(error) }, "cannot follow the other replicas");
    });
  }

  #isPast(deadlineMs: number): boolean {
    return this.#options.clock.monotonic() >= deadlineMs;
  }
}

const emptyBatch = { rows: [], leases: [], settings: new Map<string, string>(), compactedRevision: undefined };

interface Deferred {
  promise: Promise<void>;
  resolve: () => void;
}

function deferred(): Deferred {
  let resolve = (): void => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  return { promise, resolve };
}

/** A failure after which the same may work: the database answers again soon, or another connection does. */
function isPassing(error: unknown): error is SqlFailure {
  return error instanceof SqlFailure && error.fate !== "refused";
}

function unavailable(what: string, error: unknown): LogUnavailableError {
  if (error instanceof LogUnavailableError) return error;
  return new LogUnavailableError(`${what}: ${errorMessage(error)}`, error);
}

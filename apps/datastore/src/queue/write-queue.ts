import { etcdErrors } from "@keelson/protocol/etcd";
import type { Clock, Logger } from "@keelson/service";
import { valueInKeyValue } from "../engine/key-value-bytes.ts";
import type { Lessor } from "../engine/lessor.ts";
import type { StagedRow } from "../engine/operations.ts";
import type { Purge, PurgePlan } from "../engine/purge-plan.ts";
import type { MvccStore } from "../engine/store.ts";
import { neededValues } from "../engine/txn-evaluate.ts";
import type { ValueCache } from "../engine/value-cache.ts";
import type { Key, Version } from "../engine/version.ts";
import type { AppendLog, LogBatch, LogRow, LogTurn } from "../log/append-log.ts";
import type { WriteOp, WriteScope } from "./write-op.ts";

/** Limits of one commit. */
const maxBatchOps = 512;
const maxBatchBytes = 4 << 20;
/** Rows that compaction deletes along with a batch: at least the first, and twice what the batch adds, up to the second. */
const minPurgeRows = 200;
const maxPurgeRows = 1_000;
/** Waiting requests beyond this are refused with etcd's "too many requests". */
const maxWaitingOps = 50_000;
const maxWaitingBytes = 256 << 20;
/** etcd's request timeout at default settings: 5 s and two election timeouts. */
const requestTimeoutMs = 7_000;
/** After a failure requests are refused at once for this long, then one batch tries again. */
const refuseAfterFailureMs = 250;
const probePeriodMs = 1_000;
/** A commit that hangs for longer does not keep the server from stopping. */
const stopTimeoutMs = 5_000;
/** lease is a 32-bit column outside SQLite. */
const maxStoredTtlSeconds = 2_147_483_647;

interface Item {
  op: WriteOp;
  deadlineMs: number;
  /** Set by evaluation; told to the client only once everything it rests on is durable. */
  error: unknown;
  failed: boolean;
  revision: number;
  answered: boolean;
}

/** A batch between evaluation and commit. */
interface Flight {
  items: Item[];
  revision: number;
  versions: Version[];
  purge: Purge | undefined;
  undo: (() => void)[];
  /** It failed, or an earlier one did. */
  dead: boolean;
}

export interface WriteQueueOptions {
  store: MvccStore;
  lessor: Lessor;
  cache: ValueCache;
  log: AppendLog;
  purge: PurgePlan;
  clock: Clock;
  logger: Logger;
  /** Called with versions that are now durable and visible, before their writers are answered. */
  onCommitted(versions: Version[], revision: number): void;
  onBatch?(batch: BatchReport): void;
}

export interface BatchReport {
  ops: number;
  rows: number;
  purged: number;
  /** From sending the batch until it was durable. */
  durationMs: number;
}

/**
 * The one way to write. Requests wait in a queue; whenever the log gives the turn, all that wait are evaluated one after
 * another and go into one commit. Nothing is answered before the commit it rests on is durable, not even a refusal,
 * because it may rest on a write that is still under way.
 */
export class WriteQueue {
  readonly #o: WriteQueueOptions;
  readonly #fitsKey: ((key: Key) => boolean) | undefined;
  #waiting: Item[] = [];
  #waitingBytes = 0;
  #flights: Flight[] = [];
  #running = false;
  #stopped = false;
  #failure: { error: unknown; atMs: number } | undefined;
  #landed: (() => void)[] = [];
  readonly #healthListeners = new Set<() => void>();
  #purge: PurgePlan;
  /** Readers that need rows which compaction may want to delete. */
  #purgeHolds = 0;
  readonly #timers: { cancel(): void }[];

  constructor(options: WriteQueueOptions) {
    this.#o = options;
    this.#fitsKey = options.log.fitsKey?.bind(options.log);
    this.#purge = options.purge;
    const { clock } = options;
    this.#timers = [
      clock.setInterval(() => this.#expire(), 500),
      clock.setInterval(() => {
        if (this.#failure !== undefined || this.#purge.pending) this.kick();
      }, probePeriodMs),
    ];
  }

  get depth(): number {
    return this.#waiting.length;
  }

  /** Why the log cannot be written now; undefined when it can, as far as is known. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /** Calls back when {@link failure} comes or goes; returns how to stop that. */
  onHealthChange(listener: () => void): () => void {
    this.#healthListeners.add(listener);
    return () => this.#healthListeners.delete(listener);
  }

  submit(op: WriteOp): void {
    const nowMs = this.#o.clock.monotonic();
    const refusal = this.#refusal(nowMs);
    if (refusal !== undefined) {
      op.fail(refusal);
      return;
    }
    const deadlineMs = nowMs + requestTimeoutMs;
    this.#waiting.push({ op, deadlineMs, error: undefined, failed: false, revision: 0, answered: false });
    this.#waitingBytes += op.bytes;
    this.kick();
  }

  #refusal(nowMs: number): Error | undefined {
    if (this.#stopped) return etcdErrors.stopped();
    if (this.#waiting.length >= maxWaitingOps || this.#waitingBytes >= maxWaitingBytes) {
      return etcdErrors.tooManyRequests();
    }
    if (this.#failure !== undefined && nowMs - this.#failure.atMs < refuseAfterFailureMs) {
      return unavailable(this.#failure.error);
    }
    return undefined;
  }

  replacePurgePlan(purge: PurgePlan): void {
    this.#purge = purge;
  }

  /** Makes a batch soon, even an empty one: to purge, or to see whether a failed log is back. */
  kick(): void {
    if (this.#running || this.#stopped) return;
    this.#running = true;
    // Everything that arrives in this turn of the event loop shares the batch.
    setImmediate(() => {
      this.#run().catch((error) => this.#o.logger.error({ err: error }, "the write queue stopped unexpectedly"));
    });
  }

  /** Resolves when no batch is under way. */
  async landed(): Promise<void> {
    while (this.#flights.length > 0) await new Promise<void>((resolve) => this.#landed.push(resolve));
  }

  /** Keeps compaction from deleting rows until the returned function is called. */
  holdPurge(): () => void {
    this.#purgeHolds++;
    return () => {
      this.#purgeHolds--;
    };
  }

  /** Resolves when compaction has nothing left to delete. */
  async purged(): Promise<void> {
    while (!this.#stopped && (this.#purge.pending || this.#flights.some(({ purge }) => purge !== undefined))) {
      this.kick();
      await new Promise<void>((resolve) => this.#landed.push(resolve));
    }
  }

  /** Refuses what waits and lets batches that are under way land. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#failWaiting(etcdErrors.stopped());
    let timer: { cancel(): void } | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#o.clock.setTimeout(resolve, stopTimeoutMs);
    });
    await Promise.race([this.landed(), late]);
    timer?.cancel();
  }

  async #run(): Promise<void> {
    try {
      do {
        const turn = await this.#acquire();
        if (turn === undefined) return;
        const work = this.#step(turn);
        if (work !== undefined) await work;
      } while (!this.#stopped && (this.#waiting.length > 0 || (this.#purge.pending && this.#purgeHolds === 0)));
    } finally {
      this.#running = false;
      if (this.#waiting.length > 0 && this.#failure === undefined) this.kick();
    }
  }

  async #acquire(): Promise<LogTurn | undefined> {
    try {
      const turn = this.#o.log.acquire();
      const got = turn instanceof Promise ? await turn : turn;
      this.#noteSuccess();
      return got;
    } catch (error) {
      this.#noteFailure(error);
      this.#failWaiting(unavailable(error));
      return undefined;
    }
  }

  /** Evaluates what waits and sends it off. Asynchronous only where values must be fetched or the turn is shared. */
  #step(turn: LogTurn): Promise<void> | undefined {
    const items = this.#take();
    const { store, cache, log } = this.#o;
    const needed: Version[] = [];
    for (const { op } of items) if (op.operation !== undefined) neededValues(store, op.operation, needed);
    const missing = needed.filter((version) => cache.peekValue(version) === undefined);
    if (missing.length > 0) {
      const loaded = cache.load(missing);
      if (loaded instanceof Promise) {
        return loaded.then(
          (list) => this.#evaluate(turn, items, new Map(missing.map((version, at) => [version, list[at]]))),
          (error) => {
            turn.release();
            for (const item of items) this.#answer(item, unavailable(error));
          },
        );
      }
    }
    const done = this.#evaluate(turn, items, undefined);
    return log.exclusive ? undefined : done;
  }

  #evaluate(turn: LogTurn, items: Item[], fetched: Map<Version, Buffer | undefined> | undefined): Promise<void> {
    const purge = this.#purge;
    const { store } = this.#o;
    const batch: LogBatch = { rows: [], leases: [], settings: new Map(), compactedRevision: undefined, purgeIds: [] };
    const flight: Flight = { items, revision: 0, versions: [], purge: undefined, undo: [], dead: false };
    const scope: WriteScope = {
      store,
      lessor: this.#o.lessor,
      rows: [],
      leases: batch.leases,
      settings: batch.settings,
      valueOf: (version) => this.#valueOf(version, fetched),
      fitsKey: this.#fitsKey,
      compact: (revision) => {
        batch.compactedRevision = revision;
      },
      onRollback: (undo) => flight.undo.push(undo),
    };
    for (const item of items) this.#evaluateOne(item, scope, batch, flight);
    if (purge.pending && this.#purgeHolds === 0) {
      flight.purge = purge.take(Math.min(maxPurgeRows, Math.max(minPurgeRows, 2 * batch.rows.length)));
      batch.purgeIds = [...flight.purge.versions.map(({ version }) => version.id), ...flight.purge.orphans];
    }
    flight.revision = store.head;
    if (isEmpty(batch)) return this.#land(turn, flight);
    const startedMs = this.#o.clock.monotonic();
    this.#flights.push(flight);
    return turn.commit(batch).then(
      () => {
        this.#committed(flight);
        const durationMs = this.#o.clock.monotonic() - startedMs;
        this.#o.onBatch?.({ ops: items.length, rows: batch.rows.length, purged: batch.purgeIds.length, durationMs });
      },
      (error) => this.#failed(flight, error),
    );
  }

  #evaluateOne(item: Item, scope: WriteScope, batch: LogBatch, flight: Flight): void {
    const { store, cache } = this.#o;
    scope.rows = [];
    try {
      item.op.evaluate(scope);
    } catch (error) {
      item.failed = true;
      item.error = error;
    }
    const rows: StagedRow[] = scope.rows;
    if (rows.length > 0) {
      const versions = rows.map((row) => row.version);
      const revision = store.sealTransaction(versions);
      for (const { version, value } of rows) {
        cache.stage(version, value);
        flight.versions.push(version);
        batch.rows.push(logRow(version, value, rows.length > 1 ? revision : 0));
      }
    }
    item.revision = store.head;
  }

  /** Nothing to write: the answers wait for the batch before, if one is under way. */
  async #land(turn: LogTurn, flight: Flight): Promise<void> {
    turn.release();
    const last = this.#flights.at(-1);
    if (last !== undefined) last.items.push(...flight.items);
    else for (const item of flight.items) this.#answer(item);
  }

  #committed(flight: Flight): void {
    if (flight.dead) return;
    const { store, cache } = this.#o;
    const purge = this.#purge;
    this.#flights.shift();
    const versions = store.commit(flight.revision);
    for (const version of versions) cache.settle(version);
    if (flight.purge !== undefined) purge.forget(flight.purge);
    this.#o.onCommitted(versions, flight.revision);
    for (const item of flight.items) this.#answer(item);
    this.#signalLanded();
  }

  /** Takes back this batch and all that were evaluated on top of it. */
  #failed(flight: Flight, error: unknown): void {
    if (flight.dead) return;
    this.#noteFailure(error);
    const { store, cache } = this.#o;
    const purge = this.#purge;
    const dead = this.#flights.splice(0);
    store.rollback();
    for (const lost of dead.reverse()) {
      lost.dead = true;
      for (const undo of lost.undo.reverse()) undo();
      for (const version of lost.versions) cache.settle(version);
      if (lost.purge !== undefined) purge.putBack(lost.purge);
    }
    for (const lost of dead.reverse()) for (const item of lost.items) this.#answer(item, unavailable(error));
    this.#signalLanded();
  }

  #valueOf(version: Version, fetched: Map<Version, Buffer | undefined> | undefined): Uint8Array {
    const cached = this.#o.cache.peekValue(version);
    // Copied, because the cache's bytes move on while the batch is put together.
    if (cached !== undefined) return Buffer.from(cached);
    const loaded = fetched?.get(version) ?? this.#o.cache.loadOne(version);
    if (loaded === undefined || loaded instanceof Promise) throw etcdErrors.timeout();
    return Buffer.from(valueInKeyValue(version, loaded));
  }

  #take(): Item[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#waiting.length && count < maxBatchOps && bytes < maxBatchBytes) {
      bytes += this.#waiting[count++]!.op.bytes;
    }
    this.#waitingBytes -= bytes;
    const items = count === this.#waiting.length ? this.#waiting : this.#waiting.splice(0, count);
    if (items === this.#waiting) this.#waiting = [];
    return items.filter((item) => !item.answered);
  }

  #answer(item: Item, error: unknown = item.error): void {
    if (item.answered) return;
    item.answered = true;
    if (item.failed || error !== undefined) item.op.fail(error);
    else item.op.complete(item.revision);
  }

  #failWaiting(error: unknown): void {
    const items = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    for (const item of items) this.#answer(item, error);
  }

  /** Answers requests that have waited too long; they may still take effect. */
  #expire(): void {
    const nowMs = this.#o.clock.monotonic();
    const late = (item: Item): void => {
      if (item.deadlineMs <= nowMs) this.#answer(item, etcdErrors.timeout());
    };
    this.#waiting.forEach(late);
    for (const flight of this.#flights) flight.items.forEach(late);
  }

  #noteFailure(error: unknown): void {
    const isNew = this.#failure === undefined;
    this.#failure = { error, atMs: this.#o.clock.monotonic() };
    if (!isNew) return;
    this.#o.logger.error({ err: error }, "the database cannot be written");
    for (const listener of this.#healthListeners) listener();
  }

  #noteSuccess(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#o.logger.info("the database can be written again");
    for (const listener of this.#healthListeners) listener();
  }

  /** Both kinds of waiters look for themselves whether they are done. */
  #signalLanded(): void {
    for (const resolve of this.#landed.splice(0)) resolve();
  }
}

function logRow(version: Version, value: Uint8Array | undefined, txnLast: number): LogRow {
  const { lease, previous } = version;
  return {
    id: version.id,
    key: version.entry.key,
    created: version.version === 1,
    deleted: version.version === 0,
    createRevision: version.version > 1 ? version.createRevision : 0,
    previousId: previous?.id ?? 0,
    leaseTtlSeconds: Math.min(lease?.ttlSeconds ?? 0, maxStoredTtlSeconds),
    leaseId: lease === undefined || !lease.listed ? 0n : lease.id,
    version: version.version,
    txnLast,
    value,
  };
}

function isEmpty(batch: LogBatch): boolean {
  return (
    batch.rows.length === 0 &&
    batch.leases.length === 0 &&
    batch.settings.size === 0 &&
    batch.compactedRevision === undefined &&
    batch.purgeIds.length === 0
  );
}

function unavailable(error: unknown): Error {
  return etcdErrors.unavailable(error);
}

import { etcdErrors } from "@keelson/protocol/etcd";
import type { Clock, Logger } from "@keelson/service";
import type { Lessor } from "../engine/lessor.ts";
import type { PurgePlan } from "../engine/purge-plan.ts";
import type { MvccStore } from "../engine/store.ts";
import type { ValueCache } from "../engine/value-cache.ts";
import type { Version } from "../engine/version.ts";
import type { AppendLog, LogTurn } from "../log/append-log.ts";
import { BatchEvaluator, type Flight } from "./batch-evaluator.ts";
import { isEmpty } from "./log-batch.ts";
import { LogHealth } from "./log-health.ts";
import { WaitingLine } from "./waiting-line.ts";
import type { WriteOp } from "./write-op.ts";

/** Rows that compaction deletes along with a batch: at least the first, and twice what the batch adds, up to the second. */
const minPurgeRows = 200;
const maxPurgeRows = 1_000;
/** How often a failed log, or rows that are left to purge, are looked at without a request. */
const probePeriodMs = 1_000;
/** What is written to see whether a failed log is back: a row beside the data, as large as an object may be. */
const probeSetting = "write_probe";
const probeBytes = 32 << 10;
/** A commit that hangs for longer does not keep the server from stopping. */
const stopTimeoutMs = 5_000;

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
  readonly #evaluator: BatchEvaluator;
  readonly #waiting = new WaitingLine();
  readonly #health: LogHealth;
  #flights: Flight[] = [];
  #running = false;
  #stopped = false;
  /** The log still holds what showed that it can be written again. */
  #leavesProbe = false;
  #landed: (() => void)[] = [];
  #purge: PurgePlan;
  readonly #timers: { cancel(): void }[];

  constructor(options: WriteQueueOptions) {
    this.#o = options;
    const { store, lessor, cache, log, clock, logger } = options;
    this.#evaluator = new BatchEvaluator({ store, lessor, cache, fitsKey: log.fitsKey?.bind(log) });
    this.#purge = options.purge;
    this.#health = new LogHealth(clock, logger);
    store.holds.onRelease = () => {
      if (this.#purge.pending) this.kick();
      else this.#signalLanded();
    };
    this.#timers = [
      clock.setInterval(() => this.#expire(), 500),
      clock.setInterval(() => {
        if (this.#health.failure !== undefined || this.#purge.pending) this.kick();
      }, probePeriodMs),
    ];
  }

  get depth(): number {
    return this.#waiting.length;
  }

  /** Why the log cannot be written now; undefined when it can, as far as is known. */
  get failure(): unknown {
    return this.#health.failure;
  }

  /** Calls back when {@link failure} comes or goes; returns how to stop that. */
  onHealthChange(listener: () => void): () => void {
    return this.#health.onChange(listener);
  }

  submit(op: WriteOp): void {
    const refusal = this.#refusal();
    if (refusal !== undefined) {
      op.fail(refusal);
      return;
    }
    this.#waiting.push(op, this.#o.clock.monotonic());
    this.kick();
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

  /** Resolves when compaction has nothing left to delete. */
  async purged(): Promise<void> {
    while (!this.#stopped && (!this.#purge.isComplete || this.#flights.some(({ purge }) => purge !== undefined))) {
      if (this.#purge.pending) this.kick();
      await new Promise<void>((resolve) => this.#landed.push(resolve));
    }
  }

  /** Refuses what waits and lets batches that are under way land. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#waiting.failAll(etcdErrors.stopped());
    let timer: { cancel(): void } | undefined;
    const late = new Promise<void>((resolve) => {
      timer = this.#o.clock.setTimeout(resolve, stopTimeoutMs);
    });
    await Promise.race([this.landed(), late]);
    timer?.cancel();
    this.#signalLanded();
  }

  async #run(): Promise<void> {
    try {
      do {
        const turn = await this.#acquire();
        if (turn === undefined) return;
        const work = this.#step(turn);
        if (work !== undefined) await work;
      } while (!this.#stopped && (this.#waiting.length > 0 || this.#purge.pending));
    } finally {
      this.#running = false;
      if (this.#waiting.length > 0 && this.#health.failure === undefined) this.kick();
    }
  }

  async #acquire(): Promise<LogTurn | undefined> {
    try {
      const turn = this.#o.log.acquire();
      return turn instanceof Promise ? await turn : turn;
    } catch (error) {
      this.#health.noteFailure(error);
      this.#waiting.failAll(unavailable(error));
      return undefined;
    }
  }

  /** Evaluates what waits and sends it off. Asynchronous only where values must be fetched or the turn is shared. */
  #step(turn: LogTurn): Promise<void> | undefined {
    const items = this.#waiting.take();
    const fetched = this.#evaluator.prefetch(items);
    if (fetched instanceof Promise) {
      return fetched.then(
        (values) => this.#send(turn, this.#evaluator.evaluate(items, values)),
        (error) => {
          turn.release();
          for (const item of items) item.fail(unavailable(error));
        },
      );
    }
    const done = this.#send(turn, this.#evaluator.evaluate(items, fetched));
    return this.#o.log.exclusive ? undefined : done;
  }

  #send(turn: LogTurn, flight: Flight): Promise<void> {
    const { batch } = flight;
    const purge = this.#purge;
    if (purge.pending) {
      flight.purge = purge.take(Math.min(maxPurgeRows, Math.max(minPurgeRows, 2 * batch.rows.length)));
      batch.purgeIds = [...flight.purge.versions.map(({ version }) => version.id), ...flight.purge.orphans];
    }
    // Only a commit shows that the log can be written again, and on a full disk only one of some size.
    if (this.#health.failure !== undefined && !this.#o.log.isFull)
      batch.settings.set(probeSetting, "0".repeat(probeBytes));
    else if (this.#leavesProbe) batch.settings.set(probeSetting, undefined);
    if (isEmpty(batch)) return this.#land(turn, flight);
    const startedMs = this.#o.clock.monotonic();
    const ops = flight.items.length;
    this.#flights.push(flight);
    return turn.commit(batch).then(
      () => {
        this.#committed(flight);
        const durationMs = this.#o.clock.monotonic() - startedMs;
        this.#o.onBatch?.({ ops, rows: batch.rows.length, purged: batch.purgeIds.length, durationMs });
      },
      (error) => this.#failed(flight, error),
    );
  }

  /** Nothing to write: the answers wait for the batch before, if one is under way. */
  async #land(turn: LogTurn, flight: Flight): Promise<void> {
    turn.release();
    const last = this.#flights.at(-1);
    if (last !== undefined) last.items.push(...flight.items);
    else {
      for (const item of flight.items) item.settle();
      this.#signalLanded();
    }
  }

  #committed(flight: Flight): void {
    if (flight.dead) return;
    // Deletions go on while the disk is full.
    if (!this.#o.log.isFull) this.#health.noteSuccess();
    const { settings } = flight.batch;
    if (settings.has(probeSetting)) this.#leavesProbe = settings.get(probeSetting) !== undefined;
    const { store, cache } = this.#o;
    const purge = this.#purge;
    this.#flights.shift();
    const versions = store.commit(flight.revision);
    for (const version of versions) cache.settle(version);
    if (flight.purge !== undefined) purge.forget(flight.purge);
    this.#o.onCommitted(versions, flight.revision);
    for (const item of flight.items) item.settle();
    this.#signalLanded();
  }

  /** Takes back this batch and all that were evaluated on top of it. */
  #failed(flight: Flight, error: unknown): void {
    if (flight.dead) return;
    this.#health.noteFailure(error);
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
    for (const lost of dead.reverse()) for (const item of lost.items) item.fail(unavailable(error));
    this.#signalLanded();
  }

  #refusal(): Error | undefined {
    if (this.#stopped) return etcdErrors.stopped();
    if (this.#waiting.isFull) return etcdErrors.tooManyRequests();
    return this.#health.refuses && !this.#o.log.isFull ? unavailable(this.#health.failure) : undefined;
  }

  /** Answers requests that have waited too long; they may still take effect. */
  #expire(): void {
    const nowMs = this.#o.clock.monotonic();
    this.#waiting.failLate(nowMs, etcdErrors.timeout);
    for (const { items } of this.#flights) {
      for (const item of items) if (item.isLate(nowMs)) item.fail(etcdErrors.timeout());
    }
  }

  /** Both kinds of waiters look for themselves whether they are done. */
  #signalLanded(): void {
    for (const resolve of this.#landed.splice(0)) resolve();
  }
}

function unavailable(error: unknown): Error {
  return etcdErrors.unavailable(error);
}

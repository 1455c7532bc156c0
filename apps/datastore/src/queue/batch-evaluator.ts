import { etcdErrors } from "@keelson/protocol/etcd";
import { valueInKeyValue } from "../engine/key-value-bytes.ts";
import type { Lessor } from "../engine/lessor.ts";
import type { Purge } from "../engine/purge-plan.ts";
import type { MvccStore } from "../engine/store.ts";
import { neededValues } from "../engine/txn-evaluate.ts";
import type { ValueCache } from "../engine/value-cache.ts";
import type { Key, Version } from "../engine/version.ts";
import type { LogBatch } from "../log/append-log.ts";
import { emptyBatch, logRow } from "./log-batch.ts";
import type { Item } from "./waiting-line.ts";
import type { WriteScope } from "./write-op.ts";

/** A batch between evaluation and commit. */
export interface Flight {
  items: Item[];
  batch: LogBatch;
  /** The store's newest revision after it. */
  revision: number;
  versions: Version[];
  purge: Purge | undefined;
  undo: (() => void)[];
  /** It failed, or an earlier one did. */
  dead: boolean;
}

/** Values that an evaluation needs and the cache does not have. */
export type FetchedValues = Map<Version, Buffer | undefined>;

export interface BatchEvaluatorOptions {
  store: MvccStore;
  lessor: Lessor;
  cache: ValueCache;
  fitsKey: ((key: Key) => boolean) | undefined;
}

/** Evaluates requests one after another, each on top of what the one before has staged. */
export class BatchEvaluator {
  readonly #o: BatchEvaluatorOptions;

  constructor(options: BatchEvaluatorOptions) {
    this.#o = options;
  }

  /** Fetches the values that these requests will need. Asynchronous only where the log cannot be read at once. */
  prefetch(items: readonly Item[]): FetchedValues | Promise<FetchedValues> {
    const { store, cache } = this.#o;
    const needed: Version[] = [];
    for (const { op } of items) if (op.operation !== undefined) neededValues(store, op.operation, needed);
    const missing = needed.filter((version) => cache.peekValue(version) === undefined);
    if (missing.length === 0) return new Map();
    const byVersion = (list: (Buffer | undefined)[]): FetchedValues =>
      new Map(missing.map((version, at) => [version, list[at]]));
    const loaded = cache.load(missing);
    // What is read at once is read again where it is needed: it was only a view into the cache.
    return loaded instanceof Promise ? loaded.then(byVersion) : new Map();
  }

  /** Stages what the requests ask for. A request that is refused notes why and stages nothing. */
  evaluate(items: Item[], fetched: FetchedValues): Flight {
    const { store, lessor, fitsKey } = this.#o;
    const batch = emptyBatch();
    const flight: Flight = { items, batch, revision: 0, versions: [], purge: undefined, undo: [], dead: false };
    const scope: WriteScope = {
      store,
      lessor,
      rows: [],
      leases: batch.leases,
      settings: batch.settings,
      valueOf: (version) => this.#valueOf(version, fetched),
      fitsKey,
      compact: (revision) => {
        batch.compactedRevision = revision;
      },
      onRollback: (undo) => flight.undo.push(undo),
    };
    for (const item of items) this.#evaluateOne(item, scope, flight);
    flight.revision = store.head;
    return flight;
  }

  #evaluateOne(item: Item, scope: WriteScope, flight: Flight): void {
    const { store, cache } = this.#o;
    scope.rows = [];
    try {
      item.op.evaluate(scope);
    } catch (error) {
      item.refusal = { error };
    }
    const { rows } = scope;
    if (rows.length > 0) {
      const versions = rows.map((row) => row.version);
      const revision = store.sealTransaction(versions);
      for (const { version, value } of rows) {
        cache.stage(version, value);
        flight.versions.push(version);
        flight.batch.rows.push(logRow(version, value, rows.length > 1 ? revision : 0));
      }
    }
    item.revision = store.head;
  }

  #valueOf(version: Version, fetched: FetchedValues): Uint8Array {
    const { cache } = this.#o;
    const cached = cache.peekValue(version);
    // Copied, because the cache's bytes move on while the batch is put together.
    if (cached !== undefined) return Buffer.from(cached);
    const loaded = fetched.get(version) ?? cache.loadOne(version);
    if (loaded === undefined || loaded instanceof Promise) throw etcdErrors.timeout();
    return Buffer.from(valueInKeyValue(version, loaded));
  }
}

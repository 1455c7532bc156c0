import {
  Backoff,
  type Clock,
  errorMessage,
  type Logger,
  silentLogger,
  systemClock,
  type Timer,
} from "@keelson/service";
import type { KubeClient, ListOptions } from "./client.ts";
import { isExpired, isTooLargeResourceVersion } from "./errors.ts";
import type { KubeObject, ResourceRef } from "./types.ts";

export interface InformerOptions extends Pick<ListOptions, "namespace" | "labelSelector" | "fieldSelector"> {
  log?: Logger;
  clock?: Clock;
  /** Randomness in 0..1, so that many watchers do not come back in the same second (Math.random). */
  random?: () => number;
}

/** A watch is opened again after this long, and up to twice that: one that hangs unseen ends by then. As in client-go. */
const minWatchSeconds = 300;
/** A watch that ended sooner is opened again with back-off, so that a server that hangs up at once is not hammered. */
const shortWatchMs = 1_000;

/** A change of the watched copy; `object` is undefined when it went away. */
export interface Change<T> {
  key: string;
  object: T | undefined;
  previous: T | undefined;
}

/** A watched copy of a resource: list, then watch, list again when the watch cannot go on. */
export interface Informer<T extends KubeObject> {
  start(): void;
  stop(): void;
  /** Resolves when the first list is complete. */
  readonly synced: Promise<void>;
  readonly hasSynced: boolean;
  get(name: string, namespace?: string): T | undefined;
  list(): T[];
  /** Calls back for each change from now on; the returned function ends it. */
  onChange(listener: (change: Change<T>) => void): () => void;
}

export function createInformer<T extends KubeObject>(
  client: KubeClient,
  ref: ResourceRef,
  options: InformerOptions = {},
): Informer<T> {
  return new ListWatch<T>(client, ref, options);
}

class ListWatch<T extends KubeObject> implements Informer<T> {
  readonly synced: Promise<void>;
  readonly #client: KubeClient;
  readonly #ref: ResourceRef;
  readonly #selection: InformerOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #objects = new Map<string, T>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #backoff = new Backoff({ initialMs: 50, maxMs: 2_000 });
  readonly #abort = new AbortController();
  #markSynced: () => void = () => {};
  #hasSynced = false;
  #resourceVersion: string | undefined;
  #retry: Timer | undefined;

  constructor(client: KubeClient, ref: ResourceRef, options: InformerOptions) {
    const { log, clock, random, ...selection } = options;
    this.#client = client;
    this.#ref = ref;
    this.#selection = selection;
    this.#log = log ?? silentLogger;
    this.#clock = clock ?? systemClock;
    this.#random = random ?? Math.random;
    this.synced = new Promise((resolve) => {
      this.#markSynced = resolve;
    });
  }

  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  start(): void {
    void this.#run();
  }

  stop(): void {
    this.#abort.abort();
    this.#retry?.cancel();
  }

  get(name: string, namespace?: string): T | undefined {
    return this.#objects.get(namespace === undefined ? name : `${namespace}/${name}`);
  }

  list(): T[] {
    return [...this.#objects.values()];
  }

  onChange(listener: (change: Change<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One round: list if needed, then watch until it ends; then the next round, after a pause when something failed. */
  async #run(): Promise<void> {
    let pauseMs = 0;
    try {
      if (this.#resourceVersion === undefined) await this.#relist();
      const startedAtMs = this.#clock.monotonic();
      await this.#follow();
      if (this.#clock.monotonic() - startedAtMs < shortWatchMs) pauseMs = this.#backoff.next();
      else this.#backoff.reset();
    } catch (error) {
      if (this.#abort.signal.aborted) return;
      const isGone = isExpired(error);
      if (isGone || isTooLargeResourceVersion(error)) this.#resourceVersion = undefined;
      if (!isGone) {
        pauseMs = this.#backoff.next();
        this.#log.debug({ resource: this.#ref.resource, error: errorMessage(error), pauseMs }, "watch interrupted");
      }
    }
    if (this.#abort.signal.aborted) return;
    this.#retry = this.#clock.setTimeout(() => void this.#run(), pauseMs);
  }

  async #relist(): Promise<void> {
    const list = await this.#client.list<T>(this.#ref, this.#selection);
    const seen = new Set<string>();
    for (const object of list.items) {
      seen.add(keyOf(object));
      this.#store(object);
    }
    for (const key of [...this.#objects.keys()]) if (!seen.has(key)) this.#remove(key);
    this.#resourceVersion = list.metadata.resourceVersion;
    this.#backoff.reset();
    this.#hasSynced = true;
    this.#markSynced();
  }

  async #follow(): Promise<void> {
    const events = this.#client.watch<T>(this.#ref, {
      ...this.#selection,
      ...(this.#resourceVersion === undefined ? {} : { resourceVersion: this.#resourceVersion }),
      allowWatchBookmarks: true,
      timeoutSeconds: Math.floor(minWatchSeconds * (1 + this.#random())),
      signal: this.#abort.signal,
    });
    for await (const { type, object } of events) {
      if (type === "DELETED") this.#remove(keyOf(object));
      else if (type !== "BOOKMARK") this.#store(object);
      this.#resourceVersion = object.metadata.resourceVersion ?? this.#resourceVersion;
    }
  }

  #store(object: T): void {
    const key = keyOf(object);
    const previous = this.#objects.get(key);
    if (previous?.metadata.resourceVersion === object.metadata.resourceVersion && previous !== undefined) return;
    this.#objects.set(key, object);
    this.#notify({ key, object, previous });
  }

  #remove(key: string): void {
    const previous = this.#objects.get(key);
    if (!this.#objects.delete(key)) return;
    this.#notify({ key, object: undefined, previous });
  }

  #notify(change: Change<T>): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(change);
      } catch (error) {
        this.#log.error({ err: error, key: change.key }, "a listener of the watched copy failed");
      }
    }
  }
}

function keyOf(object: KubeObject): string {
  const { namespace, name } = object.metadata;
  return namespace === undefined ? name : `${namespace}/${name}`;
}

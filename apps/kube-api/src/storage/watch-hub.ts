import type { EtcdClient, Watch } from "@keelson/etcd-client";
import { type Event, eventTypes, type RpcError } from "@keelson/protocol/etcd";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import { decodeObject } from "./codec.ts";
import { prefixEnd, prefixOf } from "./object-store.ts";

/** A change of one object; parsed at most once, however many watchers look at it. Watchers must not change the objects. */
export class StoreEvent {
  readonly revision: number;
  readonly key: string;
  readonly isDelete: boolean;
  readonly #kind: Kind;
  readonly #event: Event;
  #object: ApiObject | undefined;
  #previous: ApiObject | undefined;

  constructor(kind: Kind, event: Event) {
    this.#kind = kind;
    this.#event = event;
    this.key = event.kv?.key.toString() ?? "";
    this.revision = event.kv?.modRevision ?? 0;
    this.isDelete = event.type === eventTypes.delete;
  }

  /** The state after the change; after a deletion the last state, at the deletion's resource version. */
  get object(): ApiObject | undefined {
    this.#object ??= this.isDelete ? this.#decode(this.#event.prevKv?.value) : this.#decode(this.#event.kv?.value);
    return this.#object;
  }

  /** The state before the change, undefined after a creation. */
  get previous(): ApiObject | undefined {
    this.#previous ??= this.#decode(this.#event.prevKv?.value);
    return this.#previous;
  }

  #decode(value: Buffer | undefined): ApiObject | undefined {
    return value === undefined ? undefined : decodeObject(this.#kind, this.key, value, this.revision);
  }
}

export interface WatchSink {
  onEvent(event: StoreEvent): void;
  /** The watch cannot go on (compacted, refused). */
  onEnd(error: RpcError): void;
}

export interface Subscription {
  /** Newest revision up to which everything has been delivered. */
  readonly revision: number;
  requestProgress(): void;
  cancel(): void;
}

/** How many changes of a kind are kept, so that a watch may start a little in the past without asking the datastore. */
const keptEvents = 1_024;

/**
 * One datastore watch a kind, shared by all watchers of that kind. A watcher that starts within the kept changes joins
 * it; an older start gets a datastore watch of its own.
 */
export class WatchHub {
  readonly #etcd: EtcdClient;
  readonly #shared = new Map<string, SharedWatch>();

  constructor(etcd: EtcdClient) {
    this.#etcd = etcd;
  }

  /** Delivers every change of the kind after `revision`, in order. */
  subscribe(kind: Kind, revision: number, sink: WatchSink): Subscription {
    const prefix = prefixOf(kind);
    let shared = this.#shared.get(prefix);
    if (shared === undefined || shared.isOver) {
      shared = new SharedWatch(this.#etcd, kind, revision);
      this.#shared.set(prefix, shared);
    }
    return shared.covers(revision)
      ? shared.join(revision, sink)
      : new SharedWatch(this.#etcd, kind, revision).join(revision, sink);
  }

  close(): void {
    for (const shared of this.#shared.values()) shared.close();
    this.#shared.clear();
  }
}

/** A datastore watch from a revision on, its kept changes and the sinks that follow it. */
class SharedWatch {
  isOver = false;
  readonly #watch: Watch;
  readonly #sinks = new Set<WatchSink>();
  #events: StoreEvent[] = [];
  /** Every change after this revision is kept. */
  #keptAfter: number;
  #revision: number;

  constructor(etcd: EtcdClient, kind: Kind, revision: number) {
    const prefix = prefixOf(kind);
    this.#keptAfter = revision;
    this.#revision = revision;
    this.#watch = etcd.watch(
      {
        key: Buffer.from(prefix),
        rangeEnd: prefixEnd(prefix),
        startRevision: revision + 1,
        prevKv: true,
        progressNotify: true,
      },
      {
        onEvents: (events) => this.#deliver(events.map((event) => new StoreEvent(kind, event))),
        onProgress: (progressed) => {
          this.#revision = Math.max(this.#revision, progressed);
        },
        onEnd: (error) => this.#end(error),
      },
    );
  }

  covers(revision: number): boolean {
    return revision >= this.#keptAfter;
  }

  join(revision: number, sink: WatchSink): Subscription {
    for (const event of this.#events) if (event.revision > revision) sink.onEvent(event);
    this.#sinks.add(sink);
    const currentRevision = (): number => Math.max(this.#revision, revision);
    return {
      get revision() {
        return currentRevision();
      },
      requestProgress: () => this.#watch.requestProgress(),
      cancel: () => {
        this.#sinks.delete(sink);
        if (this.#sinks.size === 0) this.close();
      },
    };
  }

  close(): void {
    this.isOver = true;
    this.#watch.cancel();
  }

  #deliver(events: readonly StoreEvent[]): void {
    for (const event of events) {
      this.#events.push(event);
      this.#revision = event.revision;
      for (const sink of [...this.#sinks]) sink.onEvent(event);
    }
    if (this.#events.length > keptEvents * 2) {
      const dropped = this.#events.splice(0, this.#events.length - keptEvents);
      this.#keptAfter = dropped.at(-1)!.revision;
    }
  }

  #end(error: RpcError): void {
    this.isOver = true;
    for (const sink of [...this.#sinks]) sink.onEnd(error);
    this.#sinks.clear();
  }
}

import type { EtcdClient, Watch } from "@keelson/etcd-client";
import type { RpcError } from "@keelson/protocol/etcd";
import type { Kind } from "../kinds/kind.ts";
import { prefixEnd, prefixOf } from "./object-store.ts";
import { StoreEvent } from "./store-event.ts";

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
 * One datastore watch a kind, shared by all watchers of that kind. A watcher that starts within the kept changes joins it.
 * An older start opens a datastore watch from there, which those who come later share: a crowd that comes back at slightly
 * different revisions after a restart needs a handful of them, not one each.
 */
export class WatchHub {
  readonly #etcd: EtcdClient;
  readonly #shared = new Map<string, SharedWatch>();
  /** Also the older ones, which live until their last watcher leaves. */
  readonly #open = new Set<SharedWatch>();

  constructor(etcd: EtcdClient) {
    this.#etcd = etcd;
  }

  /** Delivers every change of the kind after `revision`, in order. */
  subscribe(kind: Kind, revision: number, sink: WatchSink): Subscription {
    const prefix = prefixOf(kind);
    let shared = this.#shared.get(prefix);
    if (shared === undefined || shared.isOver || !shared.covers(revision)) {
      for (const watch of this.#open) if (watch.isOver) this.#open.delete(watch);
      shared = new SharedWatch(this.#etcd, kind, revision);
      this.#shared.set(prefix, shared);
      this.#open.add(shared);
    }
    return shared.join(revision, sink);
  }

  close(): void {
    for (const watch of this.#open) watch.close();
    this.#open.clear();
    this.#shared.clear();
  }
}

/** A sink with the revision it starts after: the shared watch may still have older changes on their way. */
interface Member {
  after: number;
  sink: WatchSink;
}

/** A datastore watch from a revision on, its kept changes and the sinks that follow it. */
class SharedWatch {
  isOver = false;
  readonly #watch: Watch;
  readonly #members = new Set<Member>();
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
    const member: Member = { after: revision, sink };
    for (const event of this.#events) if (event.revision > revision) sink.onEvent(event);
    this.#members.add(member);
    const currentRevision = (): number => Math.max(this.#revision, revision);
    return {
      get revision() {
        return currentRevision();
      },
      requestProgress: () => this.#watch.requestProgress(),
      cancel: () => {
        this.#members.delete(member);
        if (this.#members.size === 0) this.close();
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
      for (const { after, sink } of [...this.#members]) if (event.revision > after) sink.onEvent(event);
      event.forgetWritten();
    }
    if (this.#events.length > keptEvents * 2) {
      const dropped = this.#events.splice(0, this.#events.length - keptEvents);
      this.#keptAfter = dropped.at(-1)!.revision;
    }
  }

  #end(error: RpcError): void {
    this.isOver = true;
    for (const { sink } of [...this.#members]) sink.onEnd(error);
    this.#members.clear();
  }
}

import { varint64Size, varintSize, writeVarint, writeVarint64 } from "../engine/key-value-bytes.ts";
import type { EncodedEvents } from "./event-bytes.ts";
import { Watch, type WatchOptions } from "./watch.ts";
import type { WatchHub } from "./watch-hub.ts";

/** Where a stream's responses go. */
export interface WatchSink {
  /** Sends one WatchResponse, given in pieces. */
  send(parts: Uint8Array[]): void;
  /** Bytes handed over and not yet taken by the client. */
  readonly pendingBytes: number;
}

/** Watch ids that clients see when a watch could not be made. */
const noWatchId = -1;

/** Response size at which a watch that asked for fragments gets them: etcd's request limit plus its gRPC overhead. */
const fragmentBytes = 1_572_864 + 512 * 1_024;

export const watchReasons = {
  duplicateId: "mvcc: duplicate watch ID provided on the WatchStream",
  emptyRange: "mvcc: watcher range is empty",
  compacted: "etcdserver: mvcc: required revision has been compacted",
};

/** The watches of one Watch call: their ids, and everything that is written to the client. */
export class WatchStream {
  readonly sink: WatchSink;
  readonly watches = new Map<number, Watch>();
  readonly #hub: WatchHub;
  #nextId = 0;

  constructor(hub: WatchHub, sink: WatchSink) {
    this.#hub = hub;
    this.sink = sink;
  }

  /**
   * Creates a watch. `requestedId` 0 takes the next free id of the stream. `startRevision` 0 means after the newest.
   * A request that cannot be served is answered by a response that is both created and cancelled.
   */
  create(requestedId: number, startRevision: number, options: WatchOptions): void {
    const { rangeEnd, key } = options;
    const revision = this.#hub.delivered;
    const refusal =
      rangeEnd !== "" && rangeEnd !== "\0" && rangeEnd <= key
        ? watchReasons.emptyRange
        : startRevision < 0
          ? watchReasons.compacted
          : requestedId !== 0 && this.watches.has(requestedId)
            ? watchReasons.duplicateId
            : undefined;
    if (refusal !== undefined) {
      this.#respond({ revision, watchId: noWatchId, created: true, canceled: true, reason: refusal });
      return;
    }
    const id = requestedId === 0 ? this.#freeId() : requestedId;
    const watch = new Watch(id, this, options, startRevision === 0 ? revision + 1 : startRevision);
    this.watches.set(id, watch);
    this.#respond({ revision, watchId: id, created: true });
    this.#hub.join(watch);
  }

  /** An unknown id is ignored, as etcd does. */
  cancel(watchId: number): void {
    const watch = this.watches.get(watchId);
    if (watch === undefined) return;
    this.#end(watch);
    this.#respond({ revision: this.#hub.delivered, watchId, canceled: true });
  }

  /** Answers a progress request when every watch has everything up to now; otherwise the client must ask again. */
  progress(): void {
    const revision = this.#hub.delivered;
    if (this.watches.size === 0) return;
    for (const watch of this.watches.values()) if (!watch.live || watch.nextRevision > revision + 1) return;
    this.#respond({ revision, watchId: noWatchId });
  }

  close(): void {
    for (const watch of this.watches.values()) this.#end(watch);
  }

  /** A response without events: the watch has seen everything up to `revision`. */
  sendProgress(watch: Watch, revision: number): void {
    this.#respond({ revision, watchId: watch.id });
  }

  sendCompacted(watch: Watch, compactRevision: number): void {
    this.#end(watch);
    this.#respond({ revision: 0, watchId: watch.id, canceled: true, compactRevision });
  }

  sendEvents(watch: Watch, revision: number, events: EncodedEvents): void {
    watch.active = true;
    const { bytes, ends } = events;
    if (!watch.options.fragment || bytes.length <= fragmentBytes) {
      this.sink.send([this.#head({ revision, watchId: watch.id }), bytes]);
      return;
    }
    for (let from = 0, at = 0; at < ends.length; ) {
      let to = ends[at++]!;
      while (at < ends.length && ends[at]! - from <= fragmentBytes) to = ends[at++]!;
      const fragment = at < ends.length;
      this.sink.send([this.#head({ revision, watchId: watch.id, fragment }), bytes.subarray(from, to)]);
      from = to;
    }
  }

  #freeId(): number {
    while (this.watches.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  #end(watch: Watch): void {
    watch.ended = true;
    this.watches.delete(watch.id);
    this.#hub.leave(watch);
  }

  #respond(response: ResponseHead): void {
    this.sink.send([this.#head(response)]);
  }

  #head(response: ResponseHead): Buffer {
    return encodeHead(this.#hub.identity, response);
  }
}

interface ResponseHead {
  revision: number;
  watchId: number;
  created?: boolean;
  canceled?: boolean;
  compactRevision?: number;
  reason?: string;
  fragment?: boolean;
}

/** WatchResponse without its events: header=1, watch_id=2, created=3, canceled=4, compact_revision=5, cancel_reason=6, fragment=7. */
function encodeHead(identity: Buffer, head: ResponseHead): Buffer {
  const { revision, watchId, compactRevision = 0, reason = "" } = head;
  const headerSize = identity.length + (revision > 0 ? 1 + varintSize(revision) : 0);
  const bytes = Buffer.allocUnsafe(64 + headerSize + varint64Size(BigInt(watchId)) + reason.length);
  let at = 0;
  bytes[at++] = 0x0a;
  at = writeVarint(bytes, at, headerSize);
  at += identity.copy(bytes, at);
  if (revision > 0) {
    bytes[at++] = 0x18;
    at = writeVarint(bytes, at, revision);
  }
  if (watchId !== 0) {
    bytes[at++] = 0x10;
    at = watchId > 0 ? writeVarint(bytes, at, watchId) : writeVarint64(bytes, at, BigInt(watchId));
  }
  for (const [tag, set] of [
    [0x18, head.created],
    [0x20, head.canceled],
  ] as const) {
    if (!set) continue;
    bytes[at++] = tag;
    bytes[at++] = 1;
  }
  if (compactRevision > 0) {
    bytes[at++] = 0x28;
    at = writeVarint(bytes, at, compactRevision);
  }
  if (reason !== "") {
    bytes[at++] = 0x32;
    at = writeVarint(bytes, at, reason.length);
    at += bytes.write(reason, at, "latin1");
  }
  if (head.fragment) {
    bytes[at++] = 0x38;
    bytes[at++] = 1;
  }
  return bytes.subarray(0, at);
}

import type { MvccStore } from "../engine/store.ts";
import { type ValueCache, ValueGoneError } from "../engine/value-cache.ts";
import type { Version } from "../engine/version.ts";
import { type EncodedEvents, encodeEvents } from "./event-bytes.ts";
import type { Watch } from "./watch.ts";
import { type WatchGroup, WatchGroups } from "./watch-groups.ts";

/** A stream that has more than this waiting gets no live events: its watches fall behind and catch up when it drains. */
const maxPendingBytes = 1 << 20;
/** Limits of one catch-up step, so that a watch from long ago neither stalls the others nor fills memory. */
const maxScannedVersions = 10_000;
const maxEventsPerResponse = 1_000;
const minEventsPerResponse = 16;
const catchUpResponseBytes = 1 << 20;

/**
 * Sends every committed version to the watches of its key, exactly once and in order.
 *
 * A watch is *live* or *behind*. A live watch gets events as they are published, encoded once for all watches that want
 * the same. A watch is behind when it starts in the past, when its client reads too slowly, or when previous values
 * must be fetched first; it then reads the history in steps, and turns live in the same step that finds nothing left.
 * Everything is sent by this one task, so no response with a header revision R is ever followed by an event at or below R.
 */
export class WatchHub {
  /** The header's cluster id, member id and raft term, encoded. */
  readonly identity: Buffer;
  readonly #store: MvccStore;
  readonly #cache: ValueCache;
  readonly #groups = new WatchGroups();
  readonly #watches = new Set<Watch>();
  readonly #behind = new Set<Watch>();
  #delivered: number;
  #pumpScheduled = false;
  /** Running mean, so that a step of large events takes fewer of them. */
  #meanEventBytes = 1_024;
  readonly #onError: (error: unknown) => void;

  constructor(store: MvccStore, cache: ValueCache, identity: Buffer, onError: (error: unknown) => void) {
    this.#store = store;
    this.#cache = cache;
    this.identity = identity;
    this.#delivered = store.committed;
    this.#onError = onError;
  }

  /** Newest revision that was published: the "now" of every watch response. */
  get delivered(): number {
    return this.#delivered;
  }

  get watchCount(): number {
    return this.#watches.size;
  }

  get behindCount(): number {
    return this.#behind.size;
  }

  /** Takes versions that were just committed, in order. They are the newest of the history. */
  publish(versions: readonly Version[], revision: number): void {
    this.#delivered = revision;
    if (versions.length === 0 || this.#watches.size === 0) return;
    const touched = new Map<WatchGroup, Version[]>();
    for (const version of versions) {
      this.#groups.match(version.entry.key, (group) => {
        const events = touched.get(group);
        if (events === undefined) touched.set(group, [version]);
        else events.push(version);
      });
    }
    for (const [group, events] of touched) this.#deliver(group, events, revision);
  }

  /** Called by a stream for a watch it has announced to its client. */
  join(watch: Watch): void {
    this.#watches.add(watch);
    this.#groups.add(watch);
    if (watch.nextRevision > this.#delivered) watch.live = true;
    else this.#fallBehind(watch, watch.nextRevision);
  }

  leave(watch: Watch): void {
    if (!this.#watches.delete(watch)) return;
    this.#groups.remove(watch);
    this.#behind.delete(watch);
  }

  /** Tells watches that asked for it, and had no event since the last call, how far they are. */
  notifyProgress(): void {
    for (const watch of this.#watches) {
      if (!watch.options.progressNotify) continue;
      if (watch.active) watch.active = false;
      else if (watch.live && watch.nextRevision <= this.#delivered + 1 && watch.stream.sink.pendingBytes === 0) {
        watch.stream.sendProgress(watch, this.#delivered);
      }
    }
  }

  /** The store was loaded anew: every watch continues from where it is, or learns that it is compacted. */
  restart(): void {
    const from = this.#delivered + 1;
    this.#delivered = this.#store.committed;
    for (const watch of this.#watches) if (watch.live) this.#fallBehind(watch, Math.max(from, watch.nextRevision));
  }

  /** A stream has room again, the compacted revision has moved, or a failed read is due again: watches that are behind go on. */
  pump(): void {
    if (this.#pumpScheduled || this.#behind.size === 0) return;
    this.#pumpScheduled = true;
    setImmediate(() => {
      this.#pumpScheduled = false;
      let ready = false;
      for (const watch of this.#behind) if (this.#catchUp(watch)) ready = true;
      if (ready) this.pump();
    });
  }

  #deliver(group: WatchGroup, versions: readonly Version[], revision: number): void {
    const first = versions[0]!.revision;
    // Watches with the same wishes share the bytes.
    const encodings = new Map<number, EncodedEvents | Promise<EncodedEvents> | undefined>();
    for (const watch of group.watches) {
      if (!watch.live) continue;
      if (watch.stream.sink.pendingBytes > maxPendingBytes) {
        this.#fallBehind(watch, Math.max(first, watch.nextRevision));
        continue;
      }
      const { noPut, noDelete, prevKv } = watch.options;
      const startsLater = watch.nextRevision > first;
      const kind = startsLater ? -1 : (noPut ? 1 : 0) | (noDelete ? 2 : 0) | (prevKv ? 4 : 0);
      let events = encodings.get(kind);
      if (startsLater || !encodings.has(kind)) {
        const wanted = versions.filter((version) => version.revision >= watch.nextRevision && watch.wants(version));
        events = wanted.length === 0 ? undefined : this.#encode(wanted, prevKv);
        if (!startsLater) encodings.set(kind, events);
        // Once the values are there, whoever waits for them finds them in the cache.
        if (events instanceof Promise) this.#hold(events).then(() => this.pump(), this.#onUnread);
      }
      if (events === undefined) continue;
      if (events instanceof Promise) this.#markBehind(watch, Math.max(first, watch.nextRevision));
      else watch.stream.sendEvents(watch, revision, events);
    }
  }

  #encode(versions: readonly Version[], prevKv: boolean): EncodedEvents | Promise<EncodedEvents> {
    return encodeEvents(versions, prevKv, this.#store.compacted, this.#cache);
  }

  /** Keeps compaction away until the values are there. */
  #hold<T>(values: Promise<T>): Promise<T> {
    return values.finally(this.#store.hold());
  }

  /** The watch stays where it is, for a later {@link pump}. A row that another replica has compacted is no news. */
  readonly #onUnread = (error: unknown): void => {
    if (!(error instanceof ValueGoneError)) this.#onError(error);
  };

  #fallBehind(watch: Watch, nextRevision: number): void {
    this.#markBehind(watch, nextRevision);
    this.pump();
  }

  #markBehind(watch: Watch, nextRevision: number): void {
    watch.live = false;
    watch.nextRevision = nextRevision;
    this.#behind.add(watch);
  }

  /** One step of a watch that is behind. True when it could go on at once. */
  #catchUp(watch: Watch): boolean {
    if (watch.ended || watch.fetching) return false;
    if (watch.nextRevision < this.#store.compacted) {
      watch.stream.sendCompacted(watch, this.#store.compacted);
      return true;
    }
    if (watch.stream.sink.pendingBytes > maxPendingBytes / 2) return false;
    const { wanted, through } = this.#readHistory(watch);
    if (wanted.length === 0) {
      this.#advance(watch, through);
      return true;
    }
    const events = this.#encode(wanted, watch.options.prevKv);
    if (!(events instanceof Promise)) {
      this.#sendStep(watch, through, events);
      return true;
    }
    watch.fetching = true;
    this.#hold(events)
      .then((fetched) => {
        if (!watch.ended) this.#sendStep(watch, through, fetched);
        this.pump();
      })
      .catch(this.#onUnread)
      .finally(() => {
        watch.fetching = false;
      });
    return false;
  }

  /** The next events of a watch, and the revision up to which it then has seen everything. Revisions are not split. */
  #readHistory(watch: Watch): { wanted: Version[]; through: number } {
    const { history } = this.#store;
    const wanted: Version[] = [];
    const { start, end } = watch.range;
    const mostEvents = Math.max(
      minEventsPerResponse,
      Math.min(maxEventsPerResponse, Math.floor(catchUpResponseBytes / this.#meanEventBytes)),
    );
    const from = history.after(watch.nextRevision - 1);
    for (let at = from; at < history.length; at++) {
      const version = history.at(at);
      const full = wanted.length >= mostEvents || at - from >= maxScannedVersions;
      if (full && history.at(at - 1).revision !== version.revision) {
        return { wanted, through: history.at(at - 1).revision };
      }
      const { key } = version.entry;
      if (key >= start && (end === undefined || key < end) && watch.wants(version)) wanted.push(version);
    }
    return { wanted, through: this.#delivered };
  }

  #sendStep(watch: Watch, through: number, events: EncodedEvents): void {
    this.#meanEventBytes = 0.8 * this.#meanEventBytes + 0.2 * (events.bytes.length / events.ends.length);
    watch.stream.sendEvents(watch, through, events);
    this.#advance(watch, through);
  }

  #advance(watch: Watch, through: number): void {
    watch.nextRevision = through + 1;
    if (through < this.#delivered) return;
    watch.live = true;
    this.#behind.delete(watch);
  }
}

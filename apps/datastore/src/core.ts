import { etcdErrors } from "@keelson/protocol/etcd";
import type { Clock, Logger, Service, Timer } from "@keelson/service";
import { varint64Size, writeVarint64 } from "./engine/key-value-bytes.ts";
import type { Lease } from "./engine/lease.ts";
import { Lessor } from "./engine/lessor.ts";
import { Loader, versionOf } from "./engine/load.ts";
import { PurgePlan } from "./engine/purge-plan.ts";
import { MvccStore } from "./engine/store.ts";
import { deleteEntries } from "./engine/txn-evaluate.ts";
import { ValueCache } from "./engine/value-cache.ts";
import type { Version } from "./engine/version.ts";
import type { AppendLog, ForeignChanges, LogState } from "./log/append-log.ts";
import type { WriteScope } from "./queue/write-op.ts";
import { type BatchReport, WriteQueue } from "./queue/write-queue.ts";
import { refuseHalfRestored } from "./snapshot/restore-marker.ts";
import { WatchHub } from "./watch/watch-hub.ts";
import { KvEncoder } from "./wire/kv-responses.ts";

/** etcd looks for expired leases this often and takes at most so many at once. */
const expiryPeriodMs = 500;
const maxExpiriesPerScan = 500;
/** On a shared log a lease is renewed at most this often; the shortest TTL is twice as long. */
const renewalAnnouncementMs = 1_000;

/** How soon watches try again whose values could not be read. */
const watchRetryMs = 500;

/** etcd's raft term. There is no raft here; clients only want it to be there and not to go backwards. */
export const raftTerm = 1;

export interface CompactionPolicy {
  /** How long history is kept at least, in milliseconds; 0 turns compaction of our own accord off. */
  retentionMs: number;
  /** Revisions that are kept however old they are. */
  minRetain: number;
  /** Revisions beyond which history is compacted however young it is. */
  maxRetain: number;
}

export interface CoreOptions {
  log: AppendLog;
  clock: Clock;
  logger: Logger;
  cacheBytes: number;
  compaction: CompactionPolicy;
  progressNotifyIntervalMs: number;
}

/**
 * The parts around one log, wired together: state in memory, write queue, watches, leases. Services call it; it knows
 * nothing of requests and transports.
 */
export class Core implements Service {
  readonly log: AppendLog;
  readonly clock: Clock;
  readonly lessor = new Lessor();
  readonly store = new MvccStore();
  readonly cache: ValueCache;
  state!: LogState;
  queue!: WriteQueue;
  hub!: WatchHub;
  encoder!: KvEncoder;
  /** Told of each commit; set by the metrics. */
  onBatch: ((batch: BatchReport) => void) | undefined;
  readonly #logger: Logger;
  readonly #options: CoreOptions;
  #timers: Timer[] = [];
  /** Revision and time of the moments that our own compaction remembers, oldest first. */
  #marks: { revision: number; atMs: number }[] = [];

  constructor(options: CoreOptions) {
    this.#options = options;
    this.log = options.log;
    this.clock = options.clock;
    this.#logger = options.logger;
    this.cache = new ValueCache(options.cacheBytes, (versions) => this.log.readValues(versions.map(({ id }) => id)));
  }

  async start(): Promise<void> {
    const { log, store, lessor, cache, clock } = this;
    const startedMs = clock.monotonic();
    this.state = await log.open({
      apply: (changes) => this.#applyForeign(changes),
      lost: (state) => this.#reload(state),
    });
    refuseHalfRestored(this.state);
    const purge = await this.#load();
    const identity = encodeIdentity(this.state);
    this.encoder = new KvEncoder(identity, cache);
    this.hub = new WatchHub(store, cache, identity, (error) => {
      this.#logger.warn({ err: error }, "values of watch events could not be read");
    });
    this.queue = new WriteQueue({
      store,
      lessor,
      cache,
      log,
      purge,
      clock,
      logger: this.#logger,
      onCommitted: (versions, revision) => this.hub.publish(versions, revision),
      onBatch: (batch) => this.onBatch?.(batch),
    });
    this.#startTimers();
    this.#logger.info(
      {
        backend: log.kind,
        keys: store.index.size,
        revision: store.committed,
        ms: Math.round(clock.monotonic() - startedMs),
      },
      "datastore loaded",
    );
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#timers = [];
    if (this.queue !== undefined) await this.queue.stop();
    await this.log.close();
  }

  /** Resolves once every write that anyone was answered before now is visible here; undefined when it already is. */
  linearize(): Promise<void> | undefined {
    return this.log.readIndex();
  }

  /** Queues a change that is no KV request; resolves with the store's revision once it is durable. */
  write(evaluate: (scope: WriteScope) => void): Promise<number> {
    return new Promise((resolve, reject) => {
      this.queue.submit({ bytes: 0, evaluate, complete: resolve, fail: reject });
    });
  }

  /** Renews a lease. Resolves with its TTL in seconds, 0 when there is no such lease. */
  async keepAlive(id: bigint): Promise<number> {
    const { lessor, clock, log } = this;
    const lease = lessor.get(id);
    if (lease === undefined && log.exclusive) return 0;
    if (log.exclusive) {
      // An expiry that is on its way wins: the client was late.
      if (lease === undefined || lease.expiring) return 0;
      lessor.renew(lease, clock.monotonic());
      return lease.ttlSeconds;
    }
    // Others must learn of a renewal, but not of every one.
    const isFresh = lease !== undefined && clock.monotonic() - lease.announcedMs < renewalAnnouncementMs;
    if (isFresh && !lease.expiring) return lease.ttlSeconds;
    let ttlSeconds = 0;
    await this.write((scope) => {
      const shared = lessor.get(id);
      if (shared === undefined) return;
      lessor.renew(shared, clock.monotonic());
      shared.announcedMs = clock.monotonic();
      scope.leases.push({ kind: "renew", id });
      ttlSeconds = shared.ttlSeconds;
    });
    return ttlSeconds;
  }

  /** A response header. */
  header(revision = this.store.committed): { clusterId: bigint; memberId: bigint; revision: number; raftTerm: number } {
    return { clusterId: this.state.clusterId, memberId: this.state.memberId, revision, raftTerm };
  }

  /** Compaction to `revision`, as the Compact request does it: refuses what etcd refuses. */
  compact(scope: WriteScope, revision: number): void {
    const { store, hub } = this;
    if (revision <= store.compacted) throw etcdErrors.compacted();
    if (revision > store.head) throw etcdErrors.futureRevision();
    const before = store.compacted;
    store.compacted = revision;
    scope.compact(revision);
    scope.onRollback(() => {
      store.compacted = before;
    });
    hub.pump();
  }

  /** Ends a lease and deletes its keys in one revision. */
  revoke(scope: WriteScope, lease: Lease): void {
    deleteEntries(scope, lease.attached);
    this.lessor.remove(lease);
    if (lease.listed) scope.leases.push({ kind: "revoke", id: lease.id });
    scope.onRollback(() => this.lessor.restore(lease));
  }

  /** Fills the empty state from the log. */
  async #load(): Promise<PurgePlan> {
    const { store, lessor, clock, log } = this;
    store.reset(this.state.currentRevision, this.state.compactedRevision);
    const loader = new Loader(store, lessor, clock.monotonic());
    await log.load(
      (row) => loader.row(row),
      (lease) => loader.lease(lease),
    );
    const purge = new PurgePlan(store, loader.finish());
    lessor.renewAll(clock.monotonic());
    return purge;
  }

  /** Starts over from the log: what is in memory has missed something that cannot be caught up with. */
  #reload(state: LogState): void {
    this.state = state;
    this.lessor.clear();
    this.#load()
      .then((purge) => {
        this.queue.replacePurgePlan(purge);
        this.hub.restart();
      })
      .catch((error) => this.#logger.error({ err: error }, "the datastore could not be loaded again"));
  }

  /** Takes over what others wrote, or what an uncertain commit of ours left behind. */
  #applyForeign(changes: ForeignChanges): void {
    const { store, lessor, cache, clock } = this;
    const nowMs = clock.monotonic();
    for (const change of changes.leases) {
      const lease = lessor.get(change.id);
      if (change.kind === "grant" && lease === undefined) lessor.grant(change.id, change.ttlSeconds, nowMs);
      else if (change.kind === "renew" && lease !== undefined) lessor.renew(lease, nowMs);
    }
    const news: Version[] = [];
    for (const row of changes.rows) {
      const version = versionOf(store.index.ensure(row.key), row, lessor);
      cache.add(version, row.value);
      store.addCommitted(version);
      if (version.lease !== undefined) lessor.arm(version.lease, nowMs);
      news.push(version);
    }
    for (const change of changes.leases) {
      const lease = change.kind === "revoke" ? lessor.get(change.id) : undefined;
      if (lease !== undefined) lessor.remove(lease);
    }
    if (changes.compactedRevision > store.compacted) store.compacted = changes.compactedRevision;
    // A shared log tells all settings that there are: one that is missing was removed by another replica.
    if (!this.log.exclusive) this.state.settings = new Map(changes.settings);
    if (news.length > 0) this.hub.publish(news, store.committed);
    this.hub.pump();
  }

  #startTimers(): void {
    const { clock } = this;
    const { progressNotifyIntervalMs, compaction } = this.#options;
    this.#timers.push(clock.setInterval(() => this.#expireLeases(), expiryPeriodMs));
    this.#timers.push(clock.setInterval(() => this.hub.notifyProgress(), progressNotifyIntervalMs));
    this.#timers.push(clock.setInterval(() => this.hub.pump(), watchRetryMs));
    if (compaction.retentionMs > 0) {
      this.#timers.push(clock.setInterval(() => this.#compactByAge(), Math.min(1_000, compaction.retentionMs)));
    }
  }

  #expireLeases(): void {
    const { lessor, clock, queue } = this;
    for (const lease of lessor.takeDue(clock.monotonic(), maxExpiriesPerScan)) {
      queue.submit({
        bytes: 0,
        evaluate: (scope) => {
          // A renewal may have been faster, here or, on a shared log, at another replica.
          if (lease.deadlineMs > clock.monotonic()) lessor.postpone(lease, lease.deadlineMs);
          else if (!lease.listed || lessor.get(lease.id) === lease) this.revoke(scope, lease);
        },
        complete: () => {},
        fail: () => lessor.postpone(lease, clock.monotonic() + expiryPeriodMs),
      });
    }
  }

  /** Remembers where the store was, and compacts to the newest moment that is old enough or too far back. */
  #compactByAge(): void {
    const { store, clock, queue } = this;
    const { retentionMs, minRetain, maxRetain } = this.#options.compaction;
    const nowMs = clock.monotonic();
    this.#marks.push({ revision: store.committed, atMs: nowMs });
    let target = store.committed - maxRetain;
    while (this.#marks.length > 0 && nowMs - this.#marks[0]!.atMs >= retentionMs) {
      target = Math.max(target, this.#marks.shift()!.revision);
    }
    target = Math.min(target, store.committed - minRetain);
    if (target <= store.compacted) return;
    queue.submit({
      bytes: 0,
      evaluate: (scope) => {
        if (target > store.compacted) this.compact(scope, target);
      },
      complete: () => {},
      fail: (error) => this.#logger.debug({ err: error }, "compaction has to wait"),
    });
  }
}

/** The fields of ResponseHeader that never change: cluster_id=1, member_id=2, raft_term=4. */
function encodeIdentity(state: LogState): Buffer {
  const bytes = Buffer.alloc(3 + varint64Size(state.clusterId) + varint64Size(state.memberId) + 1);
  let at = 0;
  bytes[at++] = 0x08;
  at = writeVarint64(bytes, at, state.clusterId);
  bytes[at++] = 0x10;
  at = writeVarint64(bytes, at, state.memberId);
  bytes[at++] = 0x20;
  bytes[at] = raftTerm;
  return bytes;
}

import type { StoredLease, StoredRow } from "../log/append-log.ts";
import type { Lessor } from "./lessor.ts";
import type { MvccStore } from "./store.ts";
import { type Key, KeyEntry, Version } from "./version.ts";

/** Turns a stored row into the next version of its key, filling in what kine does not store. */
export function versionOf(entry: KeyEntry, row: StoredRow, lessor: Lessor): Version {
  const previous = entry.head;
  const revision = row.txnLast === 0 ? row.id : row.txnLast;
  const version = new Version(entry, row.id, 0, 0, undefined, previous);
  version.revision = revision;
  if (row.deleted) return version;
  version.version = row.version > 0 ? row.version : row.created ? 1 : (previous?.version ?? 1) + 1;
  if (row.created || version.version === 1) version.createRevision = revision;
  else version.createRevision = row.createRevision > 0 ? row.createRevision : (previous?.createRevision ?? revision);
  if (row.leaseId !== 0n) version.lease = lessor.reference(row.leaseId);
  else if (row.leaseTtlSeconds > 0) version.lease = lessor.unlisted(row.leaseTtlSeconds);
  return version;
}

/** Fills a store from the log at start. */
export class Loader {
  readonly #store: MvccStore;
  readonly #lessor: Lessor;
  readonly #nowMs: number;
  readonly #entries = new Map<Key, KeyEntry>();
  /** Rows that a compaction before the last stop had no time to delete. */
  readonly #orphanIds: number[] = [];

  constructor(store: MvccStore, lessor: Lessor, nowMs: number) {
    this.#store = store;
    this.#lessor = lessor;
    this.#nowMs = nowMs;
  }

  lease(lease: StoredLease): void {
    this.#lessor.grant(lease.id, lease.ttlSeconds, this.#nowMs);
  }

  row(row: StoredRow): void {
    let entry = this.#entries.get(row.key);
    if (entry === undefined) {
      entry = new KeyEntry(row.key);
      this.#entries.set(row.key, entry);
    }
    const version = versionOf(entry, row, this.#lessor);
    const { previous } = version;
    if (previous !== undefined && version.revision <= this.#store.compacted) {
      this.#orphanIds.push(previous.id);
      version.previous = undefined;
    }
    entry.head = version;
    if (version.revision >= this.#store.compacted) this.#store.history.push(version);
  }

  /** Builds the ordered index and returns what compaction still has to delete. */
  finish(): { tombstones: Version[]; orphanIds: number[] } {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    const tombstones: Version[] = [];
    for (const entry of entries) {
      const head = entry.head!;
      if (head.version === 0) {
        if (head.revision <= this.#store.compacted) tombstones.push(head);
      } else if (head.lease !== undefined) {
        // A log may tell its leases after its rows: until now the head has known only the lease's id.
        if (head.lease.listed) head.lease = this.#lessor.reference(head.lease.id);
        head.lease.attached.add(entry);
        this.#lessor.arm(head.lease, this.#nowMs);
      }
    }
    this.#store.index.bulkLoad(entries);
    return { tombstones, orphanIds: this.#orphanIds };
  }
}

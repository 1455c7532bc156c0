import type { MvccStore } from "./store.ts";
import type { Version } from "./version.ts";

/**
 * What compaction may delete, worked out step by step. Kept per key is the newest version at or below the compacted
 * revision, unless it is a tombstone older than that (etcd keeps a tombstone exactly at it, so that a watch opened there
 * still delivers the deletion). A version is forgotten in memory only after its row is gone, so that a new row's
 * predecessor is always known.
 */
export class PurgePlan {
  readonly #store: MvccStore;
  /** Every version up to this revision has been looked at. */
  #scanned: number;
  /** Found and not yet handed out. */
  readonly #found: Superseded[] = [];
  /** Tombstones exactly at an earlier compacted revision: due at the next compaction. */
  readonly #keptTombstones: Version[];
  /** Rows without a version in memory: left over by a compaction that a restart cut short. */
  readonly #orphanIds: number[];

  constructor(
    store: MvccStore,
    leftovers: { tombstones: Version[]; orphanIds: number[] } = { tombstones: [], orphanIds: [] },
  ) {
    this.#store = store;
    this.#scanned = store.compacted;
    this.#keptTombstones = leftovers.tombstones;
    this.#orphanIds = leftovers.orphanIds;
  }

  /** Whether there is something to do now. */
  get pending(): boolean {
    return this.#found.length > 0 || this.#orphanIds.length > 0 || this.#scanned < this.#store.purgeable;
  }

  /** Whether everything below the compacted revision is gone, also what readers still hold. */
  get isComplete(): boolean {
    return !this.pending && this.#scanned >= this.#store.compacted;
  }

  /** The next rows to delete, at most `limit`. */
  take(limit: number): Purge {
    this.#scan(limit);
    const orphans = this.#orphanIds.splice(0, limit);
    const versions = this.#found.splice(0, limit - orphans.length);
    return { versions, orphans };
  }

  /** The rows are deleted. */
  forget(purge: Purge): void {
    for (const { version, successor } of purge.versions) {
      const { entry } = version;
      if (entry.head === version) {
        entry.head = undefined;
        this.#store.index.remove(entry);
      } else {
        const next = successor ?? successorOf(version);
        if (next?.previous === version) next.previous = undefined;
      }
    }
  }

  /** The deletion failed: the rows are due again. */
  putBack(purge: Purge): void {
    this.#found.unshift(...purge.versions);
    this.#orphanIds.unshift(...purge.orphans);
  }

  /** Looks at versions below the purgeable revision until `limit` rows are found, and lets the history drop them. */
  #scan(limit: number): void {
    const { history, purgeable } = this.#store;
    if (this.#scanned >= purgeable) return;
    for (const version of this.#keptTombstones.splice(0)) {
      if (version.entry.head === version) this.#found.push({ version, successor: undefined });
    }
    let done = 0;
    for (; done < history.length && this.#found.length < limit; done++) {
      const version = history.at(done);
      if (version.revision >= purgeable) break;
      if (version.revision > this.#scanned) this.#judge(version, purgeable);
    }
    history.dropFront(done);
    if (history.length > 0 && history.at(0).revision < purgeable) return;
    // The versions at the revision itself are looked at too, but stay: a watch may start there.
    for (let at = 0; at < history.length && history.at(at).revision === purgeable; at++) {
      this.#judge(history.at(at), purgeable);
    }
    this.#scanned = purgeable;
  }

  #judge(version: Version, purgeable: number): void {
    const { previous, entry } = version;
    if (previous !== undefined) this.#found.push({ version: previous, successor: version });
    if (version.version !== 0) return;
    if (version.revision === purgeable) this.#keptTombstones.push(version);
    // A tombstone with a successor goes when the successor is looked at.
    else if (entry.head === version) this.#found.push({ version, successor: undefined });
  }
}

/** Only a tombstone that got a successor while it was being purged needs the search, and it is a short one. */
function successorOf(version: Version): Version | undefined {
  let candidate = version.entry.head;
  while (candidate !== undefined && candidate.previous !== version) candidate = candidate.previous;
  return candidate;
}

export interface Purge {
  versions: Superseded[];
  /** Row ids. */
  orphans: number[];
}

interface Superseded {
  version: Version;
  /** The version that took its place; undefined for a tombstone without one. */
  successor: Version | undefined;
}

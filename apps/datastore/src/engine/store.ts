import { History } from "./history.ts";
import { KeyIndex } from "./key-index.ts";
import { contains, type KeyRange } from "./key-range.ts";
import type { Lease } from "./lease.ts";
import { ReadHolds } from "./read-holds.ts";
import type { Key, Version } from "./version.ts";
import { Version as VersionNode } from "./version.ts";

/**
 * The multi-version state: which versions each key has, up to which revision they are committed, and below which
 * revision they are compacted. Values live elsewhere. Writes are first *staged*: later writes of the queue see them at
 * once, readers only after {@link commit}; {@link rollback} takes back everything that is not committed.
 */
export class MvccStore {
  index = new KeyIndex();
  history = new History();
  /** Newest committed revision: what readers see and response headers say. */
  committed = 1;
  /** Id of the newest row, staged ones included. */
  head = 1;
  /** Reads and watches below it fail. A store that was never compacted is at -1, as in etcd. */
  compacted = -1;
  readonly holds = new ReadHolds();
  /** Staged versions, oldest first. */
  #staged: Version[] = [];

  /** Keeps the rows of what a reader can find now, until the returned function is called. */
  hold(): () => void {
    return this.holds.hold(this.compacted);
  }

  /** Rows that only reads below this revision need may be deleted. */
  get purgeable(): number {
    return Math.min(this.compacted, this.holds.oldest);
  }

  /** Empties the store; a loader fills it again. */
  reset(committed: number, compacted: number): void {
    this.index = new KeyIndex();
    this.history = new History();
    this.committed = committed;
    this.head = committed;
    this.compacted = compacted;
    this.#staged = [];
  }

  /** Adds the next row: a put, or a tombstone when `kind` is "delete". The key must be alive for a tombstone. */
  stage(key: Key, kind: "put" | "delete", lease: Lease | undefined): Version {
    const entry = this.index.ensure(key);
    const previous = entry.head;
    const alive = previous !== undefined && previous.version !== 0;
    const id = ++this.head;
    const version =
      kind === "delete"
        ? new VersionNode(entry, id, 0, 0, undefined, previous)
        : new VersionNode(
            entry,
            id,
            alive ? previous.createRevision : id,
            alive ? previous.version + 1 : 1,
            lease,
            previous,
          );
    this.#link(version);
    this.#staged.push(version);
    return version;
  }

  /** Gives all rows of one transaction the revision of its last row. */
  sealTransaction(versions: readonly Version[]): number {
    const revision = this.head;
    for (const version of versions) {
      version.revision = revision;
      if (version.version === 1) version.createRevision = revision;
    }
    return revision;
  }

  /** Makes staged rows up to `revision` visible and returns them. */
  commit(revision: number): Version[] {
    let count = 0;
    while (count < this.#staged.length && this.#staged[count]!.revision <= revision) count++;
    const committed = this.#staged.splice(0, count);
    for (const version of committed) this.history.push(version);
    if (revision > this.committed) this.committed = revision;
    return committed;
  }

  /** Takes back every staged row, newest first. */
  rollback(): void {
    for (let version = this.#staged.pop(); version !== undefined; version = this.#staged.pop()) this.#unlink(version);
    this.head = this.committed;
  }

  get stagedCount(): number {
    return this.#staged.length;
  }

  /** Adds a row that is already committed: by a former run, or by another replica. */
  addCommitted(version: Version): void {
    this.#link(version);
    this.history.push(version);
    if (version.id > this.head) this.head = version.id;
    if (version.revision > this.committed) this.committed = version.revision;
  }

  /** Number of keys of the range alive at a committed revision. */
  count(range: KeyRange, revision: number): number {
    const live = this.index.countLive(range);
    if (revision >= this.head) return live;
    const from = this.history.after(revision);
    if (this.history.length - from > live + 1_000) return this.#countByScan(range, revision);
    let count = live;
    for (let at = from; at < this.history.length; at++) count -= liveChange(this.history.at(at), range);
    for (const version of this.#staged) count -= liveChange(version, range);
    return count;
  }

  #countByScan(range: KeyRange, revision: number): number {
    let count = 0;
    this.index.scan(range, (entry) => {
      if (entry.at(revision) !== undefined) count++;
      return true;
    });
    return count;
  }

  #link(version: Version): void {
    const { entry, previous } = version;
    entry.head = version;
    const wasAlive = previous !== undefined && previous.version !== 0;
    const isAlive = version.version !== 0;
    if (wasAlive !== isAlive) this.index.adjustLive(entry.key, isAlive ? 1 : -1);
    moveLease(version, previous?.lease, version.lease);
  }

  #unlink(version: Version): void {
    const { entry, previous } = version;
    entry.head = previous;
    const wasAlive = previous !== undefined && previous.version !== 0;
    const isAlive = version.version !== 0;
    if (wasAlive !== isAlive) this.index.adjustLive(entry.key, isAlive ? -1 : 1);
    moveLease(version, version.lease, previous?.lease);
    if (previous === undefined) this.index.remove(entry);
  }
}

function moveLease(version: Version, from: Lease | undefined, to: Lease | undefined): void {
  if (from === to) return;
  from?.attached.delete(version.entry);
  to?.attached.add(version.entry);
}

/** +1 when the version brought its key to life within the range, -1 when it ended it. */
function liveChange(version: Version, range: KeyRange): number {
  if (version.version > 1 || !contains(range, version.entry.key)) return 0;
  return version.version === 1 ? 1 : -1;
}

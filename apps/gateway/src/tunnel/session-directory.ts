import type { SessionEpoch, TunnelSession } from "@keelson/protocol/tunnel";

/** One live session of a node, as the directory keeps it. */
export interface DirectoryEntry {
  readonly nodeName: string;
  readonly session: TunnelSession;
  readonly epoch: SessionEpoch | undefined;
  /** Order of arrival, 1 is the first. */
  readonly order: number;
  /** Where it came from, `host:port`, for status. */
  readonly remote: string;
  readonly openedAtMs: number;
}

const keptLosses = 10_000;

/**
 * The sessions of each node. A node may hold several: it reconnects before its old connection is known to be dead, or it
 * reaches this server by two addresses. New streams go to the newest session that has proven itself; those that are
 * leaving, or have not answered yet, only when there is no better.
 */
export class SessionDirectory {
  readonly #byNode = new Map<string, DirectoryEntry[]>();
  /** Why a node's last session ended, until it has another; of the nodes that ended last. */
  readonly #losses = new Map<string, string>();
  #order = 0;

  add(entry: Omit<DirectoryEntry, "order">): DirectoryEntry {
    const ordered = { ...entry, order: ++this.#order };
    this.#losses.delete(entry.nodeName);
    const entries = this.#byNode.get(entry.nodeName);
    if (entries === undefined) this.#byNode.set(entry.nodeName, [ordered]);
    else entries.push(ordered);
    return ordered;
  }

  /** Takes out a session that ended for `reason`. True when the node has no session any more. */
  remove(entry: DirectoryEntry, reason: string): boolean {
    const entries = (this.#byNode.get(entry.nodeName) ?? []).filter((other) => other !== entry);
    if (entries.length > 0) {
      this.#byNode.set(entry.nodeName, entries);
      return false;
    }
    this.#byNode.delete(entry.nodeName);
    this.#losses.set(entry.nodeName, reason);
    if (this.#losses.size > keptLosses) this.#losses.delete(this.#losses.keys().next().value!);
    return true;
  }

  /** Why a node that has no session lost its last one; undefined when it has one, or never had. */
  lossOf(nodeName: string): string | undefined {
    return this.#losses.get(nodeName);
  }

  /** Sessions that new streams may use, best first. */
  candidates(nodeName: string): readonly DirectoryEntry[] {
    const entries = this.#byNode.get(nodeName) ?? [];
    return entries.length < 2 ? entries : [...entries].sort((a, b) => rank(b) - rank(a) || b.order - a.order);
  }

  /** What a newly proven session makes obsolete: `replaced` for certain, `doubtful` if they do not answer a ping. */
  olderThan(entry: DirectoryEntry): { replaced: DirectoryEntry[]; doubtful: DirectoryEntry[] } {
    const replaced: DirectoryEntry[] = [];
    const doubtful: DirectoryEntry[] = [];
    for (const other of this.#byNode.get(entry.nodeName) ?? []) {
      if (other.order >= entry.order) continue;
      const sameInstance = entry.epoch !== undefined && other.epoch?.instance === entry.epoch.instance;
      if (sameInstance && other.epoch!.epoch < entry.epoch!.epoch) replaced.push(other);
      else doubtful.push(other);
    }
    return { replaced, doubtful };
  }

  has(nodeName: string): boolean {
    return this.#byNode.has(nodeName);
  }

  *all(): Iterable<DirectoryEntry> {
    for (const entries of this.#byNode.values()) yield* entries;
  }

  get nodes(): Iterable<string> {
    return this.#byNode.keys();
  }
}

function rank({ session }: DirectoryEntry): number {
  if (session.closed) return -1;
  return (session.draining ? 0 : 2) + (session.proven ? 1 : 0);
}

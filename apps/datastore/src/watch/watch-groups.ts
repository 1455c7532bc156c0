import { contains, type KeyRange, prefixEnd } from "../engine/key-range.ts";
import type { Key } from "../engine/version.ts";
import type { Watch } from "./watch.ts";

/** Watches of one and the same range. */
export interface WatchGroup {
  readonly range: KeyRange;
  readonly watches: Set<Watch>;
}

/**
 * Finds the watches a key concerns without asking each: exact keys and prefixes by hash table (one look-up per distinct
 * prefix length), only other ranges one by one. So ten thousand idle watches cost a write nothing.
 */
export class WatchGroups {
  readonly #exact = new Map<Key, WatchGroup>();
  readonly #prefixes = new Map<Key, WatchGroup>();
  /** How many prefix groups there are per prefix length, and the lengths in ascending order. */
  readonly #lengthCounts = new Map<number, number>();
  #lengths: number[] = [];
  readonly #ranges = new Map<string, WatchGroup>();

  add(watch: Watch): void {
    const { key, rangeEnd } = watch.options;
    if (rangeEnd === "") this.#join(this.#exact, key, watch);
    else if (isPrefix(key, rangeEnd)) {
      if (this.#join(this.#prefixes, key, watch)) this.#countLength(key.length, 1);
    } else this.#join(this.#ranges, rangeName(key, rangeEnd), watch);
  }

  remove(watch: Watch): void {
    const { key, rangeEnd } = watch.options;
    if (rangeEnd === "") leave(this.#exact, key, watch);
    else if (isPrefix(key, rangeEnd)) {
      if (leave(this.#prefixes, key, watch)) this.#countLength(key.length, -1);
    } else leave(this.#ranges, rangeName(key, rangeEnd), watch);
  }

  /** Calls `visit` with each group whose range holds the key. */
  match(key: Key, visit: (group: WatchGroup) => void): void {
    const exact = this.#exact.get(key);
    if (exact !== undefined) visit(exact);
    for (const length of this.#lengths) {
      if (length > key.length) break;
      const group = this.#prefixes.get(length === key.length ? key : key.slice(0, length));
      if (group !== undefined) visit(group);
    }
    for (const group of this.#ranges.values()) {
      if (contains(group.range, key)) visit(group);
    }
  }

  /** True when the group is new. */
  #join(groups: Map<string, WatchGroup>, name: string, watch: Watch): boolean {
    const known = groups.get(name);
    if (known !== undefined) {
      known.watches.add(watch);
      return false;
    }
    groups.set(name, { range: watch.range, watches: new Set([watch]) });
    return true;
  }

  #countLength(length: number, change: 1 | -1): void {
    const count = (this.#lengthCounts.get(length) ?? 0) + change;
    if (count === 0) this.#lengthCounts.delete(length);
    else this.#lengthCounts.set(length, count);
    this.#lengths = [...this.#lengthCounts.keys()].sort((a, b) => a - b);
  }
}

/** True when that was the group's last watch. */
function leave(groups: Map<string, WatchGroup>, name: string, watch: Watch): boolean {
  const group = groups.get(name);
  if (group === undefined || !group.watches.delete(watch) || group.watches.size > 0) return false;
  groups.delete(name);
  return true;
}

function isPrefix(key: Key, rangeEnd: Key): boolean {
  return rangeEnd !== "\0" && prefixEnd(key) === rangeEnd;
}

/** Lengths in front keep two different pairs from looking alike. */
function rangeName(key: Key, rangeEnd: Key): string {
  return `${key.length}:${key}${rangeEnd}`;
}

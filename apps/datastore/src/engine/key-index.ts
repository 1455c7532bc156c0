import type { KeyRange } from "./key-range.ts";
import { type Key, KeyEntry } from "./version.ts";

/** Entries of one stretch of keys, in order, with the number of keys that are alive in their newest version. */
interface Chunk {
  entries: KeyEntry[];
  live: number;
}

/** A chunk splits when it outgrows this; half of it is what a page of 500 touches a few of. */
const maxChunkEntries = 512;

/**
 * Every key in byte order, plus a hash table for exact look-ups. Ordered keys sit in a row of sorted chunks: two binary
 * searches find a key, an insert moves at most one chunk, and counting a range adds up per-chunk counters, so that a
 * count over a million keys touches a few thousand numbers.
 */
export class KeyIndex {
  readonly #byKey = new Map<Key, KeyEntry>();
  #chunks: Chunk[] = [];

  /** Number of keys, dead ones included. */
  get size(): number {
    return this.#byKey.size;
  }

  get(key: Key): KeyEntry | undefined {
    return this.#byKey.get(key);
  }

  /** Finds or adds a key. An added one has no version yet and counts as dead. */
  ensure(key: Key): KeyEntry {
    const known = this.#byKey.get(key);
    if (known !== undefined) return known;
    const entry = new KeyEntry(key);
    this.#byKey.set(key, entry);
    this.#insert(entry);
    return entry;
  }

  /** Fills an empty index at once; `entries` may come in any order and keep their versions. */
  bulkLoad(entries: KeyEntry[]): void {
    entries.sort((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
    this.#byKey.clear();
    this.#chunks = [];
    const chunkSize = maxChunkEntries / 2;
    for (let at = 0; at < entries.length; at += chunkSize) {
      const part = entries.slice(at, at + chunkSize);
      for (const entry of part) this.#byKey.set(entry.key, entry);
      this.#chunks.push({ entries: part, live: countLive(part, 0, part.length) });
    }
  }

  /** Forgets a key that has no version left. */
  remove(entry: KeyEntry): void {
    if (!this.#byKey.delete(entry.key)) return;
    const chunkAt = this.#chunkFor(entry.key);
    const chunk = this.#chunks[chunkAt]!;
    chunk.entries.splice(lowerBound(chunk.entries, entry.key), 1);
    if (chunk.entries.length === 0) this.#chunks.splice(chunkAt, 1);
  }

  /** Notes that a key came to life (+1) or died (-1) in its newest version. */
  adjustLive(key: Key, change: 1 | -1): void {
    this.#chunks[this.#chunkFor(key)]!.live += change;
  }

  /** Calls `visit` for each entry of the range in key order, until it returns false. */
  scan(range: KeyRange, visit: (entry: KeyEntry) => boolean): void {
    if (this.#chunks.length === 0) return;
    const { end } = range;
    let chunkAt = this.#chunkFor(range.start);
    let at = lowerBound(this.#chunks[chunkAt]!.entries, range.start);
    for (; chunkAt < this.#chunks.length; chunkAt++, at = 0) {
      const { entries } = this.#chunks[chunkAt]!;
      for (; at < entries.length; at++) {
        const entry = entries[at]!;
        if (end !== undefined && entry.key >= end) return;
        if (!visit(entry)) return;
      }
    }
  }

  /** Keys in the range that are alive in their newest version. */
  countLive(range: KeyRange): number {
    const chunks = this.#chunks;
    if (chunks.length === 0 || (range.end !== undefined && range.end <= range.start)) return 0;
    const firstAt = this.#chunkFor(range.start);
    const first = chunks[firstAt]!;
    const from = lowerBound(first.entries, range.start);
    const lastAt = range.end === undefined ? chunks.length - 1 : this.#chunkFor(range.end);
    const last = chunks[lastAt]!;
    const to = range.end === undefined ? last.entries.length : lowerBound(last.entries, range.end);
    if (firstAt === lastAt) return countLive(first.entries, from, to);
    let count = from === 0 ? first.live : countLive(first.entries, from, first.entries.length);
    for (let at = firstAt + 1; at < lastAt; at++) count += chunks[at]!.live;
    return count + countLive(last.entries, 0, to);
  }

  #insert(entry: KeyEntry): void {
    if (this.#chunks.length === 0) {
      this.#chunks.push({ entries: [entry], live: 0 });
      return;
    }
    const chunkAt = this.#chunkFor(entry.key);
    const chunk = this.#chunks[chunkAt]!;
    chunk.entries.splice(lowerBound(chunk.entries, entry.key), 0, entry);
    if (chunk.entries.length > maxChunkEntries) this.#split(chunkAt);
  }

  /** Splits in the middle, but at the very end when keys come in ascending order, which leaves full chunks behind. */
  #split(chunkAt: number): void {
    const chunk = this.#chunks[chunkAt]!;
    const atEnd = chunkAt === this.#chunks.length - 1;
    const keep = atEnd ? maxChunkEntries - 64 : maxChunkEntries / 2;
    const right = chunk.entries.splice(keep);
    const live = countLive(right, 0, right.length);
    chunk.live -= live;
    this.#chunks.splice(chunkAt + 1, 0, { entries: right, live });
  }

  /** The last chunk whose first key is not above `key`, or the first chunk. */
  #chunkFor(key: Key): number {
    let low = 0;
    let high = this.#chunks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#chunks[middle]!.entries[0]!.key <= key) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

/** The first position whose key is not below `key`. */
function lowerBound(entries: readonly KeyEntry[], key: Key): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (entries[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

function countLive(entries: readonly KeyEntry[], from: number, to: number): number {
  let count = 0;
  for (let at = from; at < to; at++) {
    const { head } = entries[at]!;
    if (head !== undefined && head.version !== 0) count++;
  }
  return count;
}

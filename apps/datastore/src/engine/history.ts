import type { Version } from "./version.ts";

/**
 * The committed versions from the compacted revision on, in the order they were written: what watches catch up from
 * and what compaction walks. A deque in an array; the dead front is cut off when it is the larger part.
 */
export class History {
  #versions: Version[] = [];
  #start = 0;

  get length(): number {
    return this.#versions.length - this.#start;
  }

  /** Position 0 is the oldest version kept. */
  at(position: number): Version {
    return this.#versions[this.#start + position]!;
  }

  push(version: Version): void {
    this.#versions.push(version);
  }

  /** Position of the first version whose revision is above `revision`; `length` when there is none. */
  after(revision: number): number {
    let low = this.#start;
    let high = this.#versions.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#versions[middle]!.revision <= revision) low = middle + 1;
      else high = middle;
    }
    return low - this.#start;
  }

  /** Drops the oldest `count` versions. */
  dropFront(count: number): void {
    this.#versions.fill(undefined as never, this.#start, this.#start + count);
    this.#start += count;
    if (this.#start > 1_024 && this.#start * 2 > this.#versions.length) {
      this.#versions = this.#versions.slice(this.#start);
      this.#start = 0;
    }
  }
}

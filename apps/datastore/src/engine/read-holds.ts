/**
 * What compaction must not delete yet. A reader whose values come later holds the compacted revision it began under:
 * everything that it may have found is above that, and rows are deleted no further than the oldest hold. Readers that
 * begin later hold later revisions, so that a crowd of them never stops compaction.
 */
export class ReadHolds {
  /** How many readers hold each revision. */
  readonly #readers = new Map<number, number>();
  /** Called when compaction may have got further. */
  onRelease: () => void = () => {};

  /** Holds until the returned function is called, once or more. */
  hold(compacted: number): () => void {
    this.#readers.set(compacted, (this.#readers.get(compacted) ?? 0) + 1);
    let isHeld = true;
    return () => {
      if (!isHeld) return;
      isHeld = false;
      const others = this.#readers.get(compacted)! - 1;
      if (others > 0) this.#readers.set(compacted, others);
      else {
        this.#readers.delete(compacted);
        this.onRelease();
      }
    };
  }

  /** The lowest revision that is held; infinity when none is. */
  get oldest(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (const revision of this.#readers.keys()) if (revision < oldest) oldest = revision;
    return oldest;
  }
}

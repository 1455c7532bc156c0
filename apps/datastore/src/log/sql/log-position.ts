import type { ForeignChanges } from "../append-log.ts";
import type { CountedLook } from "./sequencer.ts";
import type { Cursor, Look, SequencedBatch } from "./sql-database.ts";

/** What a replica begins with: the log as it was when the engine loads it. */
export interface LogStart extends Pick<Look, "lastId" | "changeSeq" | "era" | "compactedRevision"> {
  settings: ReadonlyMap<string, string>;
}

/**
 * How far a replica has followed the shared log, and what it makes of the next look at it. Pure: whoever holds it looks,
 * commits and waits. The *cursor* is the newest row and lease change that the engine has been given; it only moves forward,
 * so nothing is handed over twice or out of order.
 */
export class LogPosition {
  readonly era: number;
  #cursor: Cursor;
  /** The newest row and change known to be safe on disk. */
  #durable: Cursor;
  #compactedRevision: number;
  #settings: Map<string, string>;

  constructor({ lastId, changeSeq, era, compactedRevision, settings }: LogStart) {
    this.era = era;
    this.#cursor = { id: lastId, changeSeq };
    this.#durable = this.#cursor;
    this.#compactedRevision = compactedRevision;
    this.#settings = new Map(settings);
  }

  get cursor(): Cursor {
    return this.#cursor;
  }

  /** -1 when never compacted. */
  get compactedRevision(): number {
    return this.#compactedRevision;
  }

  /** A copy. */
  get settings(): Map<string, string> {
    return new Map(this.#settings);
  }

  isNews(look: Look): boolean {
    return look.lastId > this.#cursor.id || look.changeSeq > this.#cursor.changeSeq;
  }

  /**
   * Whether rows went by unseen. Ids have no holes: a look that finds fewer rows than ids means that compaction was faster,
   * one behind the cursor or from another era that the database lost commits in a fail-over.
   */
  hasLostTrack(look: CountedLook): boolean {
    if (look.lastId < look.afterId || look.era !== this.era) return true;
    // Whatever another look took over since has been checked then.
    return this.isNews(look) && look.lastId - look.afterId > look.page.seen;
  }

  /** Whether everything new in a look is known to be safe on disk. */
  isDurable(look: Look): boolean {
    return !this.isNews(look) || (look.lastId <= this.#durable.id && look.changeSeq <= this.#durable.changeSeq);
  }

  noteDurable(look: Look): void {
    this.#durable = later(this.#durable, look);
  }

  /** Moves the cursor over what a look found. Returns what the engine is to be given; undefined when it has it all. */
  absorb(look: CountedLook): ForeignChanges | undefined {
    if (!this.isNews(look)) return undefined;
    const from = this.#cursor;
    const isChanged = look.changeSeq > from.changeSeq;
    this.#cursor = later(from, look);
    if (isChanged && look.settings !== undefined) this.#settings = look.settings;
    this.#compactedRevision = Math.max(this.#compactedRevision, look.compactedRevision);
    return {
      rows: look.page.rows.filter(({ id }) => id > from.id),
      leases: isChanged ? look.leases : [],
      compactedRevision: this.#compactedRevision,
      settings: this.settings,
    };
  }

  /** Moves the cursor over this replica's own commit, of which the engine knows. */
  advance(batch: SequencedBatch): void {
    this.#cursor = { id: batch.lastId, changeSeq: batch.changeSeq };
    this.#durable = this.#cursor;
    this.#compactedRevision = batch.compactedRevision ?? this.#compactedRevision;
    for (const [name, value] of batch.settings) {
      if (value === undefined) this.#settings.delete(name);
      else this.#settings.set(name, value);
    }
  }
}

function later(cursor: Cursor, { lastId, changeSeq }: Look): Cursor {
  return { id: Math.max(cursor.id, lastId), changeSeq: Math.max(cursor.changeSeq, changeSeq) };
}

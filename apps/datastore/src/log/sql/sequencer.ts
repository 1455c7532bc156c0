import { type Clock, errorMessage, type Logger, sleep } from "@keelson/service";
import { LogUnavailableError, type StoredRow } from "../append-log.ts";
import { type Cursor, type Look, type SequencedBatch, type SqlDatabase, SqlFailure } from "./sql-database.ts";

/** Rows per look. */
const lookRows = 2_000;
/** How long a commit without an answer is looked for before the client is told that its fate is unknown. */
const resolveCommitMs = 5_000;
/** How long to wait for the lock while another replica or a fail-over holds it up. */
const acquireMs = 5_000;
const retryDelayMs = 50;

/** A look, and where it began. */
export type CountedLook = Look & { afterId: number };

/** The lock, held. It ends by `commit` or `unlock`; what comes after the end has no effect on the next holder. */
export interface Hold {
  /** Everything after the cursor, as of the moment the lock was taken. */
  readonly look: CountedLook;
  /**
   * Commits and gives the lock back, also when the first tries fail in a way that leaves the database as it was, or when an
   * answer gets lost. `cursor` is what the batch was decided on. Rejects with a LogUnavailableError when the batch is not
   * there, or cannot be said to be there.
   */
  commit(batch: SequencedBatch, cursor: Cursor): Promise<void>;
  unlock(): void;
}

/**
 * The sequencer lock of one replica: takes it with everything new, and commits under it, over deadlocks, lost connections
 * and restarts of the database. One holder at a time.
 */
export class Sequencer {
  readonly #database: SqlDatabase;
  readonly #clock: Clock;
  readonly #log: Logger;
  /** Resolves when the last one in the queue is done. */
  #free: Promise<void> = Promise.resolve();

  constructor(database: SqlDatabase, deps: { clock: Clock; log: Logger }) {
    this.#database = database;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /**
   * Takes the lock and everything after the cursor. A long absence is made up for outside of the lock, so that others can
   * write meanwhile. Rejects with a LogUnavailableError.
   */
  async lock(cursor: () => Cursor): Promise<Hold> {
    const before = this.#free;
    let free = (): void => {};
    this.#free = new Promise((resolve) => {
      free = resolve;
    });
    await before;
    const deadlineMs = this.#clock.monotonic() + acquireMs;
    for (;;) {
      try {
        return this.#hold(await this.#lockAfter(cursor()), free);
      } catch (error) {
        this.#database.unlock();
        if (isPassing(error) && this.#clock.monotonic() < deadlineMs) {
          await sleep(retryDelayMs);
          continue;
        }
        free();
        throw unavailable("cannot take the write lock", error);
      }
    }
  }

  /** Everything after the cursor, page by page, without the lock. */
  async look(from: Cursor): Promise<CountedLook> {
    let look = await this.#database.look(from, lookRows);
    const { rows } = look.page;
    let { seen } = look.page;
    while (look.page.seen >= lookRows && look.page.lastId !== undefined) {
      // The later look knows the lease changes that its rows rest on.
      look = await this.#database.look({ ...from, id: look.page.lastId }, lookRows);
      rows.push(...look.page.rows);
      seen += look.page.seen;
    }
    return { ...look, page: { rows, seen, lastId: look.page.lastId ?? rows.at(-1)?.id }, afterId: from.id };
  }

  #hold(look: CountedLook, free: () => void): Hold {
    let isHeld = true;
    const end = (): void => {
      isHeld = false;
      free();
    };
    return {
      look,
      commit: async (batch, cursor) => {
        if (!isHeld) throw new LogUnavailableError("the write lock is not held any more", undefined);
        try {
          await this.#write(batch, cursor);
        } catch (error) {
          this.#database.unlock();
          throw unavailable("the commit failed", error);
        } finally {
          end();
        }
      },
      unlock: () => {
        if (!isHeld) return;
        this.#database.unlock();
        end();
      },
    };
  }

  async #lockAfter(start: Cursor): Promise<CountedLook> {
    const rows: StoredRow[] = [];
    let from = start;
    let seen = 0;
    for (;;) {
      const look = await this.#database.lock(from, lookRows);
      rows.push(...look.page.rows);
      seen += look.page.seen;
      if (look.page.seen < lookRows) return { ...look, page: { ...look.page, rows, seen }, afterId: start.id };
      this.#database.unlock();
      const missed = await this.look({ ...from, id: look.page.lastId ?? from.id });
      rows.push(...missed.page.rows);
      seen += missed.page.seen;
      from = { ...from, id: missed.page.lastId ?? look.page.lastId ?? from.id };
    }
  }

  async #write(batch: SequencedBatch, cursor: Cursor): Promise<void> {
    const deadlineMs = this.#clock.monotonic() + resolveCommitMs;
    let failure: unknown;
    let isUncertain = false;
    try {
      return await this.#database.commit(batch);
    } catch (error) {
      failure = error;
    }
    while (isPassing(failure) || (isUncertain && failure instanceof SqlFailure)) {
      isUncertain ||= failure.fate === "unknown";
      if (this.#clock.monotonic() >= deadlineMs) break;
      this.#log.warn({ error: errorMessage(failure), rows: batch.rows.length }, "a commit is tried again");
      await sleep(retryDelayMs);
      try {
        this.#database.unlock();
        const look = await this.#database.lock(cursor, 1);
        if (isUncertain && (await this.#database.lastBatch(batch.memberId)) === batch.batchNumber) {
          this.#database.unlock();
          return await this.#database.makeDurable(batch.memberId);
        }
        isUncertain = false;
        const isUnchanged = look.lastId === cursor.id && look.changeSeq === cursor.changeSeq && look.era === batch.era;
        // Another replica wrote: what the batch was decided on is no longer so.
        if (!isUnchanged) break;
        return await this.#database.commit(batch);
      } catch (error) {
        failure = error;
      }
    }
    throw failure;
  }
}

/** A failure after which the same may work: the database answers again soon, or another connection does. */
function isPassing(error: unknown): error is SqlFailure {
  return error instanceof SqlFailure && error.fate !== "refused";
}

export function unavailable(what: string, error: unknown): LogUnavailableError {
  if (error instanceof LogUnavailableError) return error;
  return new LogUnavailableError(`${what}: ${errorMessage(error)}`, error);
}

import { sleep } from "@keelson/service";
import type { StoredLease, StoredRow } from "../append-log.ts";
import { deferred } from "./deferred.ts";
import { unavailable } from "./sequencer.ts";
import type { SqlDatabase } from "./sql-database.ts";

const pageRows = 20_000;
/** How soon a page that could not be read is tried again. */
const retryDelayMs = 1_000;

/** Gives the engine everything that is stored: once at the start, and again whenever rows were missed. */
export class RowLoad {
  readonly #database: SqlDatabase;
  readonly #isClosed: () => boolean;
  #done = deferred();
  #isFirst = true;

  constructor(database: SqlDatabase, isClosed: () => boolean) {
    this.#database = database;
    this.#isClosed = isClosed;
  }

  /** Resolves when the engine has everything; until then the sink is given nothing. Another promise after {@link again}. */
  get done(): Promise<void> {
    return this.#done.promise;
  }

  /** What the engine has is worth nothing: it must load anew. */
  again(): void {
    this.#done = deferred();
  }

  /** Rows up to the id `end` in their order, then leases. Rejects with {@link LogUnavailableError}. */
  async run(end: number, onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void> {
    let afterId = 0;
    const take = (row: StoredRow): void => {
      // Where to go on when the page breaks off.
      afterId = row.id;
      if (row.id <= end) onRow(row);
    };
    while (afterId < end) {
      const { lastId } = await this.#persist(() => this.#database.loadRows(afterId, pageRows, take));
      if (lastId === undefined) break;
      afterId = lastId;
    }
    for (const lease of await this.#persist(() => this.#database.loadLeases())) onLease(lease);
    this.#isFirst = false;
    this.#done.resolve();
  }

  /** A server that cannot load at its start says so and ends; one that must load anew tries until it can. */
  async #persist<T>(read: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await read();
      } catch (error) {
        if (this.#isFirst || this.#isClosed()) throw unavailable("cannot load", error);
        await sleep(retryDelayMs);
      }
    }
  }
}

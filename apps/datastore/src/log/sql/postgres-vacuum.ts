import { errorMessage, type Logger } from "@keelson/service";
import { PostgresLink, type PostgresLinkOptions } from "./postgres-link.ts";

/** Dead rows at which it is time: so many, or this share of the table's rows if that is more. */
const minDeadRows = 20_000;
const deadShare = 0.05;
/** A large table takes minutes. */
const timeoutMs = 3_600_000;

/**
 * Makes the room of deleted rows free for new ones. The server does so too, but looks only once a minute: under an endless
 * update load a table would grow to hold all that was deleted in between. Runs beside the writers, on a connection of its
 * own, and leaves the table alone where the server is already at it.
 */
export class PostgresVacuum {
  readonly #link: PostgresLink;
  readonly #log: Logger;
  #deadRows = 0;
  #dueAtRows = minDeadRows;
  #isRunning = false;
  #isClosed = false;

  constructor(options: Omit<PostgresLinkOptions, "role" | "statementTimeoutMs">) {
    this.#link = new PostgresLink({ ...options, role: "vacuum", statementTimeoutMs: timeoutMs });
    this.#log = options.log;
  }

  /** Rows were deleted. Begins when it is time, and does not wait for the end. */
  noteDeleted(rows: number): void {
    this.#deadRows += rows;
    if (this.#isRunning || this.#isClosed || this.#deadRows < this.#dueAtRows) return;
    this.#isRunning = true;
    this.#run()
      .catch((error: unknown) => {
        if (!this.#isClosed)
          this.#log.warn({ error: errorMessage(error) }, "could not vacuum the table kine; the server will");
      })
      .finally(() => {
        this.#isRunning = false;
      });
  }

  /** Everything there is to free, and new statistics. */
  async full(): Promise<void> {
    await this.#link.script("Vacuum", "VACUUM (ANALYZE) kine");
  }

  /** Breaks off what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#link.close();
  }

  async #run(): Promise<void> {
    this.#deadRows = 0;
    // Giving pages at the end back to the file system would lock the writers out.
    await this.#link.script("Vacuum", "VACUUM (SKIP_LOCKED, TRUNCATE false) kine");
    const [row] = await this.#link.script("RowCount", "SELECT reltuples FROM pg_class WHERE oid = 'kine'::regclass");
    this.#dueAtRows = Math.max(minDeadRows, deadShare * Number(row?.[0] ?? 0));
  }
}

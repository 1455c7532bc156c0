import { LogUnavailableError } from "../append-log.ts";
import { unavailable } from "./sequencer.ts";

export interface DatabaseBytes {
  total: number;
  inUse: number;
}

/** A database that has not said its size by then is not waited for: a monitor that asks gives up soon as well. */
const patienceMs = 1_000;

/**
 * The size of a database that may be away. Whoever asks is answered within about a second, with the size as it was last
 * known when there is no newer one, as etcd's members answer without a quorum.
 */
export class DatabaseSize {
  readonly #read: () => Promise<DatabaseBytes>;
  #asked: Promise<DatabaseBytes> | undefined;
  #last: DatabaseBytes | undefined;

  constructor(read: () => Promise<DatabaseBytes>) {
    this.#read = read;
  }

  /** Callers at the same time share one query. Rejects with a LogUnavailableError when no size was ever known. */
  async ask(): Promise<DatabaseBytes> {
    this.#asked ??= this.#read().finally(() => {
      this.#asked = undefined;
    });
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_resolve, reject) => {
      const silent = new LogUnavailableError("cannot learn the size: the database does not answer", undefined);
      timer = setTimeout(() => reject(silent), patienceMs);
    });
    try {
      this.#last = await Promise.race([this.#asked, late]);
    } catch (error) {
      if (this.#last === undefined) throw unavailable("cannot learn the size", error);
    } finally {
      clearTimeout(timer);
    }
    return this.#last;
  }
}

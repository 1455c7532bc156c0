/** Ids of one query; a page of a list is not split. */
const maxIds = 2_000;

interface Caller {
  ids: readonly number[];
  resolve(values: (Uint8Array | undefined)[]): void;
  reject(error: unknown): void;
}

/**
 * Reads values for many callers in few queries: one runs at a time, and whoever asks in the same turn of the event loop,
 * or while it runs, shares the next. So a crowd of small reads costs one round trip, not one each.
 */
export class SharedRead {
  readonly #query: (ids: readonly number[]) => Promise<(Uint8Array | undefined)[]>;
  #callers: Caller[] = [];
  #isRunning = false;

  constructor(query: (ids: readonly number[]) => Promise<(Uint8Array | undefined)[]>) {
    this.#query = query;
  }

  /** Values in the order of the ids; undefined where the row is gone. */
  ask(ids: readonly number[]): Promise<(Uint8Array | undefined)[]> {
    return new Promise((resolve, reject) => {
      this.#callers.push({ ids, resolve, reject });
      if (this.#isRunning) return;
      this.#isRunning = true;
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#callers.length > 0) await this.#serve(this.#take());
    this.#isRunning = false;
  }

  #take(): Caller[] {
    let ids = 0;
    let count = 0;
    while (count < this.#callers.length && ids < maxIds) ids += this.#callers[count++]!.ids.length;
    return this.#callers.splice(0, count);
  }

  async #serve(callers: readonly Caller[]): Promise<void> {
    const ids = [...new Set(callers.flatMap((caller) => caller.ids))];
    try {
      const values = await this.#query(ids);
      const byId = new Map(ids.map((id, at) => [id, values[at]]));
      for (const caller of callers) caller.resolve(caller.ids.map((id) => byId.get(id)));
    } catch (error) {
      for (const caller of callers) caller.reject(error);
    }
  }
}

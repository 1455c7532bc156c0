import { errorMessage, type Logger } from "@keelson/service";

/** Deletes rows that compaction no longer needs, and keeps in mind those whose deletion failed. */
export class RowPurge {
  readonly #delete: (ids: readonly number[]) => Promise<void>;
  readonly #log: Logger;
  /** Deletion failed. They must be gone before new rows take their place. */
  #due: number[] = [];

  constructor(deleteRows: (ids: readonly number[]) => Promise<void>, log: Logger) {
    this.#delete = deleteRows;
    this.#log = log;
  }

  /** Rows that should be gone are still there. */
  get isBehind(): boolean {
    return this.#due.length > 0;
  }

  /** Deletes these rows, and first those that are due. Never rejects; see {@link isBehind}. */
  async run(ids: readonly number[] = []): Promise<void> {
    const due = [...this.#due, ...ids];
    if (due.length === 0) return;
    try {
      await this.#delete(due);
      this.#due = [];
    } catch (error) {
      this.#due = due;
      this.#log.warn({ error: errorMessage(error), rows: due.length }, "could not delete compacted rows yet");
    }
  }

  /** What was due is not known to be there any more. */
  forget(): void {
    this.#due = [];
  }
}

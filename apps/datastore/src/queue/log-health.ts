import type { Clock, Logger } from "@keelson/service";

/** After a failure requests are refused at once for this long, then one batch tries again. */
const refuseAfterFailureMs = 250;

/** Whether the log can be written, as far as is known, and who wants to hear when that changes. */
export class LogHealth {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #listeners = new Set<() => void>();
  #failure: { error: unknown; atMs: number } | undefined;

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Why the log cannot be written; undefined when it can. */
  get failure(): unknown {
    return this.#failure?.error;
  }

  /** Whether the last failure is so recent that trying again is no use. */
  get refuses(): boolean {
    return this.#failure !== undefined && this.#clock.monotonic() - this.#failure.atMs < refuseAfterFailureMs;
  }

  /** Calls back when {@link failure} comes or goes; returns how to stop that. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  noteFailure(error: unknown): void {
    const isNew = this.#failure === undefined;
    this.#failure = { error, atMs: this.#clock.monotonic() };
    if (!isNew) return;
    this.#logger.error({ err: error }, "the database cannot be written");
    this.#tell();
  }

  noteSuccess(): void {
    if (this.#failure === undefined) return;
    this.#failure = undefined;
    this.#logger.info("the database can be written again");
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

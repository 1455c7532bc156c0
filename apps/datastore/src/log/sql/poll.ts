import type { Clock, Timer } from "@keelson/service";

/** How often to look for rows of other replicas: often while somebody writes, seldom when idle or when NOTIFY does the waking. */
const busyPollMs = 50;
const idlePollMs = 1_000;
const notifiedPollMs = 5_000;
const busyForMs = 3_000;

export interface PollOptions {
  clock: Clock;
  /** Notifications arrive, so that polls are only a safety net. */
  isNotified: () => boolean;
  /** Nobody else is known to write. */
  isAlone: () => boolean;
  /** Errors are the next request's to report. */
  look: () => Promise<void>;
}

/** Looks for what other replicas wrote, again and again, as often as there is reason to. */
export class Poll {
  readonly #options: PollOptions;
  #lastActivityMs = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #isStopped = false;

  constructor(options: PollOptions) {
    this.#options = options;
  }

  /** Begins; further calls change nothing. */
  start(): void {
    if (this.#timer === undefined) this.#schedule();
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  /** Somebody wrote: more may follow soon. */
  noteActivity(): void {
    this.#lastActivityMs = this.#options.clock.monotonic();
  }

  #schedule(): void {
    if (this.#isStopped) return;
    const { clock, look } = this.#options;
    const again = (): void => this.#schedule();
    this.#timer = clock.setTimeout(() => void look().then(again, again), this.#delayMs());
  }

  #delayMs(): number {
    const { clock, isNotified, isAlone } = this.#options;
    if (isNotified()) return notifiedPollMs;
    return !isAlone() && clock.monotonic() - this.#lastActivityMs < busyForMs ? busyPollMs : idlePollMs;
  }
}

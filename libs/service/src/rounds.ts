import type { Clock, Timer } from "./clock.ts";

export interface RoundsOptions {
  clock: Clock;
  periodMs: number;
  /** Told of what a round rejects with; the next round runs all the same. */
  onError: (error: unknown) => void;
}

/** Work that is done again and again, one round at a time: a round that is due while one still runs is left out. */
export class Rounds {
  readonly #round: () => Promise<void>;
  readonly #options: RoundsOptions;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;

  constructor(round: () => Promise<void>, options: RoundsOptions) {
    this.#round = round;
    this.#options = options;
  }

  /** The first round is due after one period; {@link now} asks for one at once. */
  start(): void {
    const { clock, periodMs } = this.#options;
    this.#timer ??= clock.setInterval(() => void this.now(), periodMs);
  }

  /** Begins a round, or joins the one that runs; resolves when it ends, even where it failed. */
  now(): Promise<void> {
    this.#running ??= this.#round()
      .catch(this.#options.onError)
      .finally(() => {
        this.#running = undefined;
      });
    return this.#running;
  }

  /** Resolves when the round that runs has ended; the timer begins no other. */
  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    await this.#running;
  }
}

/** Exponential back-off with full-range jitter; randomness is injected so that tests are exact. */
export interface BackoffOptions {
  /** Delay before the first retry, in milliseconds (250). */
  initialMs?: number;
  /** Upper bound of a delay, in milliseconds (5000). */
  maxMs?: number;
  /** Growth per attempt (2). */
  factor?: number;
  /** Share of each delay that is random: 0.5 means between half of the delay and the delay (0.5). */
  jitter?: number;
  /** Source of randomness in [0, 1) (Math.random). */
  random?: () => number;
}

export class Backoff {
  readonly #initialMs: number;
  readonly #maxMs: number;
  readonly #factor: number;
  readonly #jitter: number;
  readonly #random: () => number;
  #attempt = 0;

  constructor(options: BackoffOptions = {}) {
    this.#initialMs = options.initialMs ?? 250;
    this.#maxMs = options.maxMs ?? 5_000;
    this.#factor = options.factor ?? 2;
    this.#jitter = options.jitter ?? 0.5;
    this.#random = options.random ?? Math.random;
  }

  /** Failed attempts since the last reset. */
  get attempt(): number {
    return this.#attempt;
  }

  /** The next delay in milliseconds; each call counts one failed attempt. */
  next(): number {
    const full = Math.min(this.#maxMs, this.#initialMs * this.#factor ** this.#attempt);
    this.#attempt++;
    return full * (1 - this.#jitter * this.#random());
  }

  /** Back to the first delay, after a success. */
  reset(): void {
    this.#attempt = 0;
  }
}

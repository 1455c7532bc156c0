/** Answer of a full queue: try again after this many seconds. */
export class QueueFull extends Error {
  override readonly name = "QueueFull";
  readonly retryAfterSeconds: number;

  constructor(retryAfterSeconds: number) {
    super(`too many node passwords are being hashed, try again in ${retryAfterSeconds} s`);
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

export interface HashQueueOptions {
  /** How many jobs run at once: one per core, since each fills a core for about 0.1 s. */
  concurrency: number;
  /** How many may wait; the next one is turned away. */
  maxWaiting: number;
}

/** A first-come, first-served queue of bounded length in front of costly work. */
export class HashQueue {
  readonly #options: HashQueueOptions;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  /** Moving average of a job's time, for an honest Retry-After. */
  #averageMs = 150;

  constructor(options: HashQueueOptions) {
    this.#options = options;
  }

  /** Jobs that run or wait. */
  get depth(): number {
    return this.#running + this.#waiting.length;
  }

  /** How long a job that came now would wait before it runs, in milliseconds. */
  get estimatedWaitMs(): number {
    return (this.#waiting.length * this.#averageMs) / this.#options.concurrency;
  }

  /** Runs a job when its turn comes; throws {@link QueueFull} at once when too many wait. */
  async run<T>(job: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#options.concurrency) {
      if (this.#waiting.length >= this.#options.maxWaiting) {
        throw new QueueFull(Math.max(1, Math.ceil(this.estimatedWaitMs / 2_000)));
      }
      // Who finishes hands its place on, so that nobody slips in between.
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else {
      this.#running++;
    }
    const startedMs = performance.now();
    try {
      return await job();
    } finally {
      this.#averageMs += (performance.now() - startedMs - this.#averageMs) * 0.1;
      const next = this.#waiting.shift();
      if (next === undefined) this.#running--;
      else next();
    }
  }
}

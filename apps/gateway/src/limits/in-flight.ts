import type { Clock, Timer } from "@keelson/service";

export interface InFlightOptions {
  /** Requests that may run at once. */
  limit: number;
  /** Requests that may wait for a free place; the next one is turned away. */
  waiting: number;
  /** The longest wait, in milliseconds; a request that waited longer is turned away. */
  maxWaitMs: number;
}

/** Frees the place of one request; later calls do nothing. */
export type Release = () => void;

interface Waiter {
  admit(release: Release | undefined): void;
  timer: Timer;
}

/**
 * Max-in-flight filter with a short first-come queue. Newest K3s turns the 21st reader and 11th writer away at once;
 * the queue spares a joining agent, who would come back only 5 to 10 seconds later, that detour. Whoever does not get
 * a place in time is told to retry (429).
 */
export class InFlight {
  readonly #options: InFlightOptions;
  readonly #clock: Clock;
  readonly #queue = new Set<Waiter>();
  #running = 0;

  constructor(options: InFlightOptions, clock: Clock) {
    this.#options = options;
    this.#clock = clock;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#queue.size;
  }

  /** A place, now or within the waiting time; undefined when the request has to be turned away. */
  enter(): Release | undefined | Promise<Release | undefined> {
    if (this.#running < this.#options.limit) return this.#admit();
    if (this.#queue.size >= this.#options.waiting) return undefined;
    return new Promise((resolve) => {
      const waiter: Waiter = {
        admit: resolve,
        timer: this.#clock.setTimeout(() => {
          this.#queue.delete(waiter);
          resolve(undefined);
        }, this.#options.maxWaitMs),
      };
      this.#queue.add(waiter);
    });
  }

  #admit(): Release {
    this.#running++;
    let released = false;
    return () => {
      if (released) return;
      released = true;
      this.#running--;
      this.#next();
    };
  }

  #next(): void {
    const [first] = this.#queue;
    if (first === undefined) return;
    this.#queue.delete(first);
    first.timer.cancel();
    first.admit(this.#admit());
  }
}

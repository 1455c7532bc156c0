import type { Clock } from "@keelson/service";

/**
 * Handshakes that may be under way at once: enough that a crowd of slow peers keeps us busy, and few enough that others wait
 * no more than some 40 ms when all of them go on in the same turn.
 */
const limit = 48;
/** A peer that takes longer for its part no longer counts, so that slow peers do not keep others out. */
const patienceMs = 250;
/** Handshakes started before the event loop serves others; each costs about half a millisecond of signing. */
const perTurn = 4;

/**
 * Starts TLS handshakes a few at a time, first come first served. When a thousand agents knock at the same moment, the
 * answers on established connections (a `/readyz`, a watch) still leave in time.
 */
export class HandshakeQueue {
  readonly #clock: Clock;
  readonly #waiting: (() => void)[] = [];
  #running = 0;
  #scheduled = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Calls `start` when its turn comes. The returned function is to be called when the handshake is over, for better or worse. */
  push(start: () => void): () => void {
    let state: "waiting" | "running" | "over" = "waiting";
    const over = (): void => {
      if (state === "running") {
        this.#running--;
        this.#schedule();
      }
      state = "over";
    };
    this.#waiting.push(() => {
      if (state === "over") return;
      state = "running";
      this.#running++;
      this.#clock.setTimeout(over, patienceMs);
      start();
    });
    this.#schedule();
    return over;
  }

  #schedule(): void {
    if (this.#scheduled || this.#waiting.length === 0 || this.#running >= limit) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#scheduled = false;
    for (let started = 0; started < perTurn && this.#running < limit; started++) this.#waiting.shift()?.();
    this.#schedule();
  }
}

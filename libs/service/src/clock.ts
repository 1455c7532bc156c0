/** Time as the state machines see it. Production code passes {@link systemClock}; tests pass a {@link ManualClock}. */
export interface Clock {
  /** Wall-clock time in milliseconds since the epoch. */
  now(): number;
  /** Monotonic time in milliseconds; only differences mean something. */
  monotonic(): number;
  /** Calls `fn` once after `delayMs`. The timer never keeps the process alive by itself. */
  setTimeout(fn: () => void, delayMs: number): Timer;
  /** Calls `fn` every `periodMs`. The timer never keeps the process alive by itself. */
  setInterval(fn: () => void, periodMs: number): Timer;
}

export interface Timer {
  cancel(): void;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  setTimeout(fn, delayMs) {
    const timer = setTimeout(fn, delayMs);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
  setInterval(fn, periodMs) {
    const timer = setInterval(fn, periodMs);
    timer.unref();
    return { cancel: () => clearInterval(timer) };
  },
};

/** Resolves after `delayMs`, or rejects with the signal's reason when it aborts first. Keeps the process alive. */
export function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

interface Scheduled {
  at: number;
  order: number;
  periodMs: number | undefined;
  fn: () => void;
}

/** A clock that stands still until a test moves it with {@link ManualClock.advance}. */
export class ManualClock implements Clock {
  #nowMs: number;
  #order = 0;
  readonly #startMs: number;
  readonly #scheduled = new Set<Scheduled>();

  constructor(startMs = Date.UTC(2026, 0, 1)) {
    this.#startMs = startMs;
    this.#nowMs = startMs;
  }

  now(): number {
    return this.#nowMs;
  }

  monotonic(): number {
    return this.#nowMs - this.#startMs;
  }

  setTimeout(fn: () => void, delayMs: number): Timer {
    return this.#schedule(fn, delayMs, undefined);
  }

  setInterval(fn: () => void, periodMs: number): Timer {
    return this.#schedule(fn, periodMs, Math.max(1, periodMs));
  }

  /** Moves time forward, running due timers in order of their time. */
  advance(ms: number): void {
    const target = this.#nowMs + ms;
    for (;;) {
      const next = this.#next(target);
      if (next === undefined) break;
      this.#nowMs = next.at;
      if (next.periodMs === undefined) this.#scheduled.delete(next);
      else next.at += next.periodMs;
      next.fn();
    }
    this.#nowMs = target;
  }

  /** How many timers are waiting: zero proves that a stopped component left none behind. */
  get pendingTimers(): number {
    return this.#scheduled.size;
  }

  #schedule(fn: () => void, delayMs: number, periodMs: number | undefined): Timer {
    const entry: Scheduled = { at: this.#nowMs + Math.max(0, delayMs), order: this.#order++, periodMs, fn };
    this.#scheduled.add(entry);
    return { cancel: () => this.#scheduled.delete(entry) };
  }

  #next(limit: number): Scheduled | undefined {
    let best: Scheduled | undefined;
    for (const entry of this.#scheduled) {
      if (entry.at > limit) continue;
      if (best === undefined || entry.at < best.at || (entry.at === best.at && entry.order < best.order)) best = entry;
    }
    return best;
  }
}

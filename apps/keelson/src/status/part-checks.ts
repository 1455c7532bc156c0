import { type Clock, errorMessage, type Service, type Timer } from "@keelson/service";

/** A part of a server and whether it works; the moment is of the monotonic clock. */
export interface PartState {
  name: string;
  working: boolean;
  sinceMs: number;
  /** What it said, the last time that it did not work. */
  reason: string | undefined;
  /** How long the last successful check took, in milliseconds. */
  roundTripMs: number | undefined;
}

/** Rejects, or resolves with a sentence, when the part does not work. */
export type PartCheck = () => Promise<string | undefined>;

const intervalMs = 2_000;
/** A check that takes longer counts as failed; it may be slow for a moment where a database is asked. */
const timeoutMs = 3_000;

/** Asks the parts of this process every two seconds how they are, so that status can tell since when one fails. */
export class PartChecks implements Service {
  readonly #checks: Readonly<Record<string, PartCheck>>;
  readonly #clock: Clock;
  readonly #states = new Map<string, PartState>();
  readonly #running = new Set<string>();
  #timer: Timer | undefined;

  constructor(checks: Readonly<Record<string, PartCheck>>, clock: Clock) {
    this.#checks = checks;
    this.#clock = clock;
    for (const name of Object.keys(checks)) {
      const sinceMs = clock.monotonic();
      this.#states.set(name, { name, working: true, sinceMs, reason: undefined, roundTripMs: undefined });
    }
  }

  async start(): Promise<void> {
    this.#timer = this.#clock.setInterval(() => this.#round(), intervalMs);
    this.#round();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
  }

  states(): readonly PartState[] {
    return [...this.#states.values()];
  }

  #round(): void {
    for (const [name, check] of Object.entries(this.#checks)) {
      if (!this.#running.has(name)) void this.#ask(name, check);
    }
  }

  async #ask(name: string, check: PartCheck): Promise<void> {
    const state = this.#states.get(name)!;
    const startedMs = this.#clock.monotonic();
    const late = this.#clock.setTimeout(
      () => this.#enter(state, `it gives no answer within ${timeoutMs / 1_000} s`),
      timeoutMs,
    );
    this.#running.add(name);
    try {
      this.#enter(state, await check());
      if (state.working) state.roundTripMs = this.#clock.monotonic() - startedMs;
    } catch (error) {
      this.#enter(state, errorMessage(error));
    } finally {
      late.cancel();
      this.#running.delete(name);
    }
  }

  #enter(state: PartState, problem: string | undefined): void {
    const working = problem === undefined;
    if (state.working !== working) state.sinceMs = this.#clock.monotonic();
    state.working = working;
    if (problem !== undefined) state.reason = problem;
  }
}

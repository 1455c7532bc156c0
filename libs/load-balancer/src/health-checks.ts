import { type Clock, errorCode, errorMessage } from "@keelson/service";
import type { HealthProbe } from "./probe.ts";
import type { CheckResult } from "./server-list.ts";

/** Told of every verdict about a server. */
export type OnVerdict = (address: string, result: CheckResult, reason: string) => void;

/** Asks servers how they are, one question at a time for each, and keeps what is known between two answers. */
export class HealthChecks {
  readonly #probe: HealthProbe | undefined;
  readonly #timeoutMs: number;
  readonly #clock: Clock;
  readonly #onVerdict: OnVerdict;
  readonly #asking = new Map<string, AbortController>();
  readonly #leaving = new Set<string>();
  readonly #suspects = new Set<string>();
  #stopped = false;

  constructor(probe: HealthProbe | undefined, timeoutMs: number, clock: Clock, onVerdict: OnVerdict) {
    this.#probe = probe;
    this.#timeoutMs = timeoutMs;
    this.#clock = clock;
    this.#onVerdict = onVerdict;
  }

  /** Checks one server; never rejects. */
  async check(address: string): Promise<void> {
    if (this.#probe === undefined || this.#stopped || this.#asking.has(address)) return;
    const abort = new AbortController();
    this.#asking.set(address, abort);
    const timer = this.#clock.setTimeout(() => abort.abort(), this.#timeoutMs);
    let failure: string | undefined;
    try {
      await this.#probe.check(address, abort.signal);
    } catch (error) {
      const late = abort.signal.aborted;
      const cause = late && errorCode(error) === "ABORT_ERR" ? "it does not answer" : errorMessage(error);
      failure = `health check failed: ${cause}${late ? ` within ${this.#timeoutMs} ms` : ""}`;
    }
    timer.cancel();
    this.#asking.delete(address);
    if (this.#stopped) return;
    if (failure !== undefined) return this.#onVerdict(address, "failed", failure);
    this.#suspects.delete(address);
    // While a server says that it leaves, an answer of its still open port proves nothing.
    if (!this.#leaving.has(address)) this.#onVerdict(address, "ok", "health check passed");
  }

  /** A server says that it is about to stop, or no longer. */
  setLeaving(address: string, leaving: boolean): void {
    if (leaving) this.#leaving.add(address);
    else this.#leaving.delete(address);
    if (leaving) this.#onVerdict(address, "leaving", "the server said that it is shutting down");
  }

  /** Every connection to the server ended, and not by its client: its process may be gone, or its whole host. */
  suspect(address: string): void {
    this.#suspects.add(address);
    void this.check(address);
  }

  isSuspect(address: string): boolean {
    return this.#suspects.has(address);
  }

  /** A connection to the server was opened, or it is of no interest any more. */
  clear(address: string): void {
    this.#suspects.delete(address);
  }

  stop(): void {
    this.#stopped = true;
    for (const abort of this.#asking.values()) abort.abort();
    this.#probe?.close();
  }
}

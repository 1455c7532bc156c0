import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";
import type { DeferredCheck, Verdict } from "./node-passwords.ts";

const retryMs = 5_000;
/** More than this are not remembered; their nodes are checked at their next request. */
const maxPending = 10_000;

/**
 * Checks node passwords that were accepted while the API was away, once it answers, and says the result in an event on the
 * Node. One check for a node name; the first password that was accepted is the one that counts.
 */
export class DeferredChecks {
  readonly #api: ClusterApi;
  readonly #check: (check: DeferredCheck) => Promise<Verdict>;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #pending = new Map<string, DeferredCheck>();
  #timer: Timer | undefined;
  #running = false;

  constructor(api: ClusterApi, check: (check: DeferredCheck) => Promise<Verdict>, clock: Clock, log: Logger) {
    this.#api = api;
    this.#check = check;
    this.#clock = clock;
    this.#log = log;
  }

  get pending(): number {
    return this.#pending.size;
  }

  add(check: DeferredCheck): void {
    if (this.#pending.has(check.nodeName) || this.#pending.size >= maxPending) return;
    this.#pending.set(check.nodeName, check);
    this.#timer ??= this.#clock.setInterval(() => void this.run(), retryMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  /** Tries all that wait, in order; ends at the first sign that the API is still away. Never rejects. */
  async run(): Promise<void> {
    if (this.#running || !this.#api.ready) return;
    this.#running = true;
    try {
      for (const check of [...this.#pending.values()]) {
        const verdict = await this.#check(check);
        this.#pending.delete(check.nodeName);
        await this.#report(check.nodeName, verdict);
      }
      this.stop();
    } catch (error) {
      this.#log.debug({ reason: errorMessage(error) }, "deferred node-password checks wait for the API");
    } finally {
      this.#running = false;
    }
  }

  async #report(nodeName: string, verdict: Verdict): Promise<void> {
    const failed = verdict !== "match";
    if (failed) this.#log.warn({ node: nodeName }, "a node was accepted with a password that is not its own");
    const node = await this.#api.getNode(nodeName);
    if (node === undefined) return;
    await this.#api.recordEvent({
      node: node.metadata,
      type: failed ? "Warning" : "Normal",
      reason: failed ? "NodePasswordValidationFailed" : "NodePasswordValidationComplete",
      message: failed
        ? "Deferred node password validation failed: the password does not match the stored hash"
        : "Deferred node password validation completed",
    });
  }
}

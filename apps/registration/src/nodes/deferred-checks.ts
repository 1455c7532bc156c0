import { KubeError } from "@keelson/kube-client";
import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { isApiAway } from "../cluster/api-away.ts";
import type { ClusterApi } from "../cluster/cluster-api.ts";
import { QueueFull } from "./hash-queue.ts";
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

  /** Tries all that wait. One that fails does not hold up the others. Never rejects. */
  async run(): Promise<void> {
    if (this.#running || !this.#api.ready) return;
    this.#running = true;
    for (const check of [...this.#pending.values()]) {
      if (!(await this.#try(check))) break;
    }
    if (this.#pending.size === 0) this.stop();
    this.#running = false;
  }

  /** Checks one and says the result; answers whether it makes sense to go on with the next. */
  async #try(check: DeferredCheck): Promise<boolean> {
    const { nodeName } = check;
    this.#pending.delete(nodeName);
    try {
      await this.#report(nodeName, await this.#check(check));
      return true;
    } catch (error) {
      const reason = errorMessage(error);
      const isLater = isApiAway(error) || error instanceof QueueFull;
      if (isLater) {
        this.#pending.set(nodeName, check); // behind the others
        this.#log.debug({ node: nodeName, reason }, "a deferred node-password check waits for the API");
      } else {
        this.#log.error({ node: nodeName, reason }, "the password of a node that was accepted can never be checked");
      }
      return !(error instanceof QueueFull || (error instanceof KubeError && error.status === 0));
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

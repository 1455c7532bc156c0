import { hashNodePassword, nodePasswordSecret, nodePasswordSecretName } from "@keelson/secret-format";
import { type Clock, errorMessage, type Logger } from "@keelson/service";
import { isApiAway } from "../cluster/api-away.ts";
import type { ClusterApi } from "../cluster/cluster-api.ts";

/**
 * A storm is over when no node has asked for a certificate for this long. A thousand agents take each step of a join together,
 * so that seconds without such a request pass in the middle of it.
 */
const quietMs = 10_000;
/** In a storm without end one hash in this time. */
const longestWaitMs = 30_000;

/**
 * Replaces provisional hashes by full ones, one after the other, when the storm that they come from is over: hashing must
 * not take the cores from the nodes that still join. A name that is missed is caught at its node's next request.
 */
export class HashHardening {
  readonly #api: ClusterApi;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #onHardened: (hash: string, password: string) => void;
  readonly #waiting = new Map<string, string>();
  #quietAtMs = 0;
  #isRunning = false;
  #isStopped = false;

  constructor(api: ClusterApi, clock: Clock, log: Logger, onHardened: (hash: string, password: string) => void) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
    this.#onHardened = onHardened;
  }

  /** Names that wait. */
  get pending(): number {
    return this.#waiting.size;
  }

  add(nodeName: string, password: string): void {
    this.#waiting.set(nodeName, password);
    if (!this.#isRunning) void this.#run();
  }

  /** A node has just asked for something: it goes first. */
  postpone(): void {
    this.#quietAtMs = this.#clock.monotonic() + quietMs;
  }

  stop(): void {
    this.#isStopped = true;
  }

  async #run(): Promise<void> {
    this.#isRunning = true;
    for (const [nodeName, password] of this.#waiting) {
      await this.#quiet();
      if (this.#isStopped) break;
      this.#waiting.delete(nodeName);
      if (await this.#harden(nodeName, password)) continue;
      this.#waiting.set(nodeName, password); // behind the others, after a pause
      this.postpone();
    }
    this.#isRunning = false;
  }

  /** Waits until the storm is over, or for as long as one may hold a hash up. */
  async #quiet(): Promise<void> {
    const deadlineMs = this.#clock.monotonic() + longestWaitMs;
    for (;;) {
      const nowMs = this.#clock.monotonic();
      const waitMs = Math.min(this.#quietAtMs, deadlineMs) - nowMs;
      if (waitMs <= 0 || this.#isStopped) return;
      await new Promise<void>((resolve) => {
        this.#clock.setTimeout(resolve, waitMs);
      });
    }
  }

  /** False when the API is away, so that it must be tried again. */
  async #harden(nodeName: string, password: string): Promise<boolean> {
    try {
      const hash = await hashNodePassword(password);
      const secret = await this.#api.getSecret(nodePasswordSecretName(nodeName));
      if (secret === undefined || secret.immutable) return true;
      const full = nodePasswordSecret(nodeName, hash);
      // Whoever changed the Secret in between has the last word: its resourceVersion tells.
      if (await this.#api.replaceSecret({ ...full, metadata: { ...secret.metadata, ...full.metadata } })) {
        this.#onHardened(hash, password);
      }
      return true;
    } catch (error) {
      if (this.#isStopped) return true; // the API went with us; the node's next request begins anew
      this.#log.warn({ node: nodeName, reason: errorMessage(error) }, "a node keeps its provisional hash for now");
      return !isApiAway(error);
    }
  }
}

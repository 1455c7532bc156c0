import type { LoadBalancer } from "@keelson/load-balancer";
import type { Clock } from "@keelson/service";

/** A server that the cluster no longer lists and that did not leave quietly. */
export interface LostServer {
  address: string;
  /** When it stopped answering, of the monotonic clock. */
  sinceMs: number;
  reason: string;
}

/** How long a lost server is remembered: an operator who comes back after a while still learns what happened. */
const rememberMs = 3_600_000;

/**
 * Remembers servers that went down and then fell out of the cluster's list: within seconds nothing else on this host
 * would speak of them, least of all to the person who wonders why a server is missing.
 */
export class LostServers {
  readonly #clock: Clock;
  readonly #lost = new Map<string, LostServer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Called with the new list, before the balancer gets it. */
  update(balancer: Pick<LoadBalancer, "servers">, listed: readonly string[]): void {
    for (const address of listed) this.#lost.delete(address);
    for (const { address, down, state, sinceMs, reason, ...server } of balancer.servers()) {
      if (!server.listed || listed.includes(address)) continue;
      if (down !== undefined) this.#lost.set(address, { address, ...down });
      else if (state === "failed") this.#lost.set(address, { address, sinceMs, reason });
    }
  }

  list(): readonly LostServer[] {
    const horizonMs = this.#clock.monotonic() - rememberMs;
    return [...this.#lost.values()].filter(({ sinceMs }) => sinceMs > horizonMs);
  }
}

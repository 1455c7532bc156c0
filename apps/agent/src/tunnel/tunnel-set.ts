import { randomBytes } from "node:crypto";
import { TunnelClient, type TunnelClientDeps, type TunnelStatus } from "./tunnel-client.ts";

/** One tunnel per server of the cluster: opened and closed as the list changes. */
export class TunnelSet {
  readonly #deps: Omit<TunnelClientDeps, "nextEpoch">;
  readonly #clients = new Map<string, TunnelClient>();
  readonly #instance = randomBytes(6).toString("hex");
  #epoch = 0;

  constructor(deps: Omit<TunnelClientDeps, "nextEpoch">) {
    this.#deps = deps;
  }

  /** Makes the set equal to the list. An empty list is not believed. */
  reconcile(addresses: readonly string[]): void {
    if (addresses.length === 0) return;
    for (const [address, client] of this.#clients) {
      if (addresses.includes(address)) continue;
      this.#clients.delete(address);
      this.#deps.log.info({ server: address }, "server left the cluster, closing its tunnel");
      client.stop("the server left the cluster");
    }
    for (const address of addresses) {
      if (this.#clients.has(address)) continue;
      const client = new TunnelClient(address, this.#instance, { ...this.#deps, nextEpoch: () => this.#nextEpoch() });
      this.#clients.set(address, client);
      client.start();
    }
  }

  get addresses(): readonly string[] {
    return [...this.#clients.keys()];
  }

  status(): readonly TunnelStatus[] {
    return [...this.#clients.values()].map((client) => client.status());
  }

  /** Something about the server changed: tunnels that wait for their next try make it now. */
  retryNow(address: string): void {
    this.#clients.get(address)?.retryNow();
  }

  stop(): void {
    for (const client of this.#clients.values()) client.stop("the agent is stopping");
    this.#clients.clear();
  }

  /** Grows also across restarts of the agent, so that a new process supersedes the sessions of the old one. */
  #nextEpoch(): number {
    this.#epoch = Math.max(this.#epoch + 1, this.#deps.clock.now());
    return this.#epoch;
  }
}

import { Gauge, Histogram, type Registry } from "@keelson/service";
import type { ServerStatus } from "./server-list.ts";
import { preference } from "./server-state.ts";

/** The metrics of current K3s: state and connections per server, how long dials take. */
export class BalancerMetrics {
  readonly #name: string;
  readonly #dials: Histogram<"name" | "status">;

  constructor(name: string, registry: Registry, servers: () => readonly ServerStatus[]) {
    this.#name = name;
    new Gauge({
      name: "k3s_loadbalancer_server_health",
      help: "State of each server, 0 (invalid) to 7 (active)",
      labelNames: ["name", "server"],
      registers: [registry],
      collect() {
        this.reset();
        for (const { address, state } of servers()) this.set({ name, server: address }, preference(state));
      },
    });
    new Gauge({
      name: "k3s_loadbalancer_server_connections",
      help: "Open connections to each server",
      labelNames: ["name", "server"],
      registers: [registry],
      collect() {
        this.reset();
        for (const { address, connections } of servers()) this.set({ name, server: address }, connections);
      },
    });
    this.#dials = new Histogram({
      name: "k3s_loadbalancer_dial_duration_seconds",
      help: "How long it took to reach a server for a client",
      labelNames: ["name", "status"],
      buckets: [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 5],
      registers: [registry],
    });
  }

  dialled(status: "success" | "error", durationMs: number): void {
    this.#dials.observe({ name: this.#name, status }, durationMs / 1_000);
  }
}

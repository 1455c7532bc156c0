import type { ServerResponse } from "node:http";
import { Counter, Gauge, type Registry } from "@keelson/service";

/** What is read when somebody asks for the metrics. */
export interface GatewayGauges {
  connections(): number;
  agentRequests(): { running: number; waiting: number };
  /** Wall-clock milliseconds. */
  listenerExpiryMs(): number;
}

/** What operators see of the public port. */
export class GatewayMetrics {
  readonly #requests: Counter<"route" | "code">;
  readonly #upstreamFailures: Counter<"upstream">;

  constructor(registry: Registry, gauges: GatewayGauges) {
    const registers = [registry];
    this.#requests = new Counter({
      name: "keelson_gateway_requests_total",
      help: "Requests by supervisor route (or `kubernetes` for everything proxied) and status code",
      labelNames: ["route", "code"],
      registers,
    });
    this.#upstreamFailures = new Counter({
      name: "keelson_gateway_upstream_failures_total",
      help: "Connections to the Kubernetes API that failed, by upstream",
      labelNames: ["upstream"],
      registers,
    });
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read());
        },
      });
    };
    gauge("keelson_gateway_connections", "Open connections on the public port", gauges.connections);
    gauge("keelson_gateway_agent_requests_running", "Agent requests at work", () => gauges.agentRequests().running);
    gauge("keelson_gateway_agent_requests_waiting", "Agent requests waiting", () => gauges.agentRequests().waiting);
    gauge(
      "keelson_gateway_listener_certificate_expiry_seconds",
      "When the listener certificate expires, in seconds since the epoch",
      () => gauges.listenerExpiryMs() / 1_000,
    );
  }

  /** Counts the request when its response is out, or its client gone. */
  count(route: string, res: ServerResponse): void {
    res.once("close", () => this.#requests.inc({ route, code: String(res.statusCode) }));
  }

  upstreamFailed(upstream: string): void {
    this.#upstreamFailures.inc({ upstream });
  }
}

import type { Logger, Service, Timer } from "@keelson/service";
import type { ApiObject } from "../kinds/kind.ts";
import { listAt, textAt } from "../kinds/kind.ts";
import type { ApiContext } from "../verbs/call.ts";
import { timestamp } from "../verbs/prepare.ts";
import { attempt } from "./essentials.ts";

/** Source: kube-controller-manager --node-monitor-period and --node-monitor-grace-period. */
const periodMs = 5_000;
const graceMs = 40_000;
const leaseNamespace = "kube-node-lease";

/** Sets the Ready condition of a node to Unknown when its Lease has not been renewed for the grace period. */
export class NodeHealth implements Service {
  readonly #context: ApiContext;
  readonly #log: Logger;
  /** When this process last saw a lease change: the nodes' own clocks are not trusted. */
  readonly #seen = new Map<string, { resourceVersion: string; atMs: number }>();
  #timer: Timer | undefined;

  constructor(context: ApiContext, log: Logger) {
    this.#context = context;
    this.#log = log;
  }

  async start(): Promise<void> {
    this.#timer = this.#context.clock.setInterval(
      () => void attempt(this.#log, "node health", () => this.#check()),
      periodMs,
    );
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
  }

  async #check(): Promise<void> {
    const { store, catalog, clock } = this.#context;
    const now = clock.monotonic();
    const leases = await store.list(catalog.require("leases", "coordination.k8s.io"), leaseNamespace);
    for (const lease of leases.items) {
      const { name, resourceVersion = "" } = lease.metadata;
      if (this.#seen.get(name)?.resourceVersion !== resourceVersion)
        this.#seen.set(name, { resourceVersion, atMs: now });
    }
    const nodes = catalog.require("nodes");
    for (const node of (await store.list(nodes, undefined)).items) {
      const seen = this.#seen.get(node.metadata.name);
      if (seen === undefined) {
        this.#seen.set(node.metadata.name, { resourceVersion: "", atMs: now });
      } else if (now - seen.atMs > graceMs && readyStatus(node) === "True") {
        await store.update({ kind: nodes, namespace: undefined, name: node.metadata.name }, (current) =>
          this.#unknown(current),
        );
        this.#log.warn({ node: node.metadata.name }, "node stopped renewing its lease");
      }
    }
  }

  #unknown(node: ApiObject): ApiObject {
    const at = timestamp(this.#context.clock.now());
    const conditions = listAt(node, "status.conditions").map((condition) =>
      condition.status === "Unknown"
        ? condition
        : {
            ...condition,
            status: "Unknown",
            reason: "NodeStatusUnknown",
            message: "Kubelet stopped posting node status.",
            lastTransitionTime: at,
          },
    );
    return { ...node, status: { ...(node.status as object), conditions } };
  }
}

function readyStatus(node: ApiObject): string {
  return textAt(
    listAt(node, "status.conditions").find((condition) => condition.type === "Ready"),
    "status",
  );
}

import type { Cluster } from "./cluster.ts";
import type { Fault, FaultKind } from "./faults.ts";
import { bounds, type Topology } from "./suite.ts";

type PlannedFaults = Topology["faults"];

const heldMs = 3_000;

/** Kill, freeze and cut off one server; its peers go on serving. */
export function serverFaults(server: string): PlannedFaults {
  return (["kill", "pause", "disconnect"] as const).map((kind) =>
    planned(kind, server, "server", kind === "kill" ? bounds.statelessKill : bounds.silentLoss),
  );
}

/** The balancer is only needed for joining: agents have learned the servers, so the client must not notice at all. */
export function balancerFaults(): PlannedFaults {
  return (["kill", "disconnect"] as const).map((kind) => planned(kind, "balancer", "load balancer", 1_000));
}

/** The only database: away as long as it is down, and a bounded time more. */
export function databaseFaults(name = "database"): PlannedFaults {
  return (["kill", "restart", "pause", "disconnect"] as const).map((kind) =>
    planned(kind, name, "database", heldMs + startMs(kind) + bounds.afterDatabase),
  );
}

/** A database that was killed recovers its log before it answers; that is its own downtime. */
function startMs(kind: FaultKind): number {
  return kind === "kill" || kind === "restart" ? 3_000 : 0;
}

function planned(kind: FaultKind, node: string, role: string, maxOutageMs: number): PlannedFaults[number] {
  return {
    title: `${kind} ${role} ${node}`,
    fault: (cluster: Cluster): Fault => ({ role, kind, node: cluster.node(node), heldMs, maxOutageMs }),
  };
}

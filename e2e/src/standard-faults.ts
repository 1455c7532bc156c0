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

/** The balancer is only needed for joining: agents have learned the servers, so the client hardly notices. */
export function balancerFaults(): PlannedFaults {
  return (["kill", "disconnect"] as const).map((kind) =>
    planned(kind, "balancer", "load balancer", bounds.statelessKill),
  );
}

/** The only database: away as long as it is down, and a bounded time more. */
export function databaseFaults(name = "database"): PlannedFaults {
  return (["kill", "restart", "pause", "disconnect"] as const).map((kind) =>
    planned(kind, name, "database", heldMs + extraDowntimeMs[kind] + bounds.afterDatabase),
  );
}

/**
 * What its own downtime has beyond the time that it is held down: one that starts recovers its log first; one that is
 * cut off leaves attempts to connect without an answer, which end with their timeout.
 */
const extraDowntimeMs: Readonly<Record<FaultKind, number>> = {
  kill: 3_000,
  restart: 3_000,
  pause: 0,
  disconnect: 3_000,
};

function planned(kind: FaultKind, node: string, role: string, maxOutageMs: number): PlannedFaults[number] {
  return {
    title: `${kind} ${role} ${node}`,
    fault: (cluster: Cluster): Fault => ({ role, kind, node: cluster.node(node), heldMs, maxOutageMs }),
  };
}

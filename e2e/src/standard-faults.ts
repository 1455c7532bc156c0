import type { Cluster } from "./cluster.ts";
import type { Fault, FaultKind } from "./faults.ts";
import { bounds, type Topology } from "./suite.ts";

type PlannedFaults = Topology["faults"];

const heldMs = 3_000;

/**
 * Kill, freeze and cut off each of the replicas of a role. They go kind by kind, so that of each kind one hits the replica
 * that the client's requests go through, whichever that is. What falls silent stays so for longer than the client may
 * wait: it must be helped by the others.
 */
export function replicaFaults(
  role: string,
  replicas: readonly string[],
  silentLossMs: number = bounds.silentLoss,
): PlannedFaults {
  return (["kill", "pause", "disconnect"] as const).flatMap((kind) =>
    replicas.map((replica) =>
      kind === "kill"
        ? planned(kind, replica, role, bounds.statelessKill)
        : planned(kind, replica, role, silentLossMs, silentLossMs + 2_000),
    ),
  );
}

/** The balancer is only needed for joining: agents have learned the servers, so the client hardly notices. */
export function balancerFaults(): PlannedFaults {
  return (["kill", "disconnect"] as const).map((kind) =>
    planned(kind, "balancer", "load balancer", bounds.statelessKill),
  );
}

/** How a database says that it serves, its recovery included. */
export const databaseIsReady = {
  postgres: ["pg_isready", "--host=127.0.0.1"],
  mariadb: ["mariadb-admin", "--host=127.0.0.1", "ping"],
} as const;

/** The only database: away as long as it says so itself, and a bounded time more. */
export function databaseFaults(isReady: readonly string[]): PlannedFaults {
  return (["kill", "restart", "pause", "disconnect"] as const).map((kind) => ({
    title: `${kind} database`,
    fault: (cluster: Cluster): Fault => {
      const node = cluster.node("database");
      const isBack = (): Promise<boolean> => node.succeeds(...isReady);
      // TCP repeats what was lost on the way with growing pauses, so that a cable is plugged in before that is noticed.
      const afterMs = bounds.afterDatabase + (kind === "disconnect" ? bounds.retransmission : 0);
      return { role: "database", kind, node, heldMs, isBack, maxOutageMs: (downMs) => downMs + afterMs };
    },
  }));
}

function planned(
  kind: FaultKind,
  node: string,
  role: string,
  maxOutageMs: number,
  awayMs = heldMs,
): PlannedFaults[number] {
  return {
    title: node.startsWith(role) ? `${kind} ${node}` : `${kind} ${role} ${node}`,
    fault: (cluster: Cluster): Fault => ({ role, kind, node: cluster.node(node), heldMs: awayMs, maxOutageMs }),
  };
}

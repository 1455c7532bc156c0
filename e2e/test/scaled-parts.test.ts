import { Cluster } from "../src/cluster.ts";
import type { FaultKind } from "../src/faults.ts";
import { balancerFaults, databaseFaults, databaseIsReady } from "../src/standard-faults.ts";
import { bounds, describeTopology } from "../src/suite.ts";

/** Agents know the gateways by the balancer's address alone, so a lost gateway is noticed by the balancer's checks too. */
const balancerCheckMs = 1_500;

function partFaults(part: string, role: string, kinds: readonly FaultKind[] = ["kill", "pause", "disconnect"]) {
  return kinds.map((kind) => ({
    title: `${kind} ${part}`,
    fault: (cluster: Cluster) => ({
      role,
      kind,
      node: cluster.node(part),
      heldMs: 3_000,
      maxOutageMs: kind === "kill" ? bounds.statelessKill : bounds.silentLoss + balancerCheckMs,
    }),
  }));
}

describeTopology({
  name: "parts scaled apart, PostgreSQL and Redis",
  build: async () => {
    const cluster = await Cluster.create("scaled", 8);
    await cluster.addBalancer(2);
    await cluster.addParts(2);
    await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
    return cluster;
  },
  faults: [
    ...partFaults("gateway-1", "gateway"),
    ...partFaults("registration-1", "registration"),
    ...partFaults("kube-api-1", "kube-api"),
    ...partFaults("datastore-1", "datastore replica"),
    ...partFaults("redis", "Redis"),
    ...databaseFaults(databaseIsReady.postgres),
    ...balancerFaults().map(({ title, fault }) => ({
      title,
      // Here the balancer is in the way of every request: away as long as it is down.
      fault: async (cluster: Cluster) => ({
        ...(await fault(cluster)),
        maxOutageMs: (downMs: number) => downMs + 3_000,
      }),
    })),
  ],
});

import { Cluster } from "../src/cluster.ts";
import { balancerFaults, databaseFaults, databaseIsReady, replicaFaults } from "../src/standard-faults.ts";
import { bounds, describeTopology } from "../src/suite.ts";

/** Agents know the gateways by the balancer's address alone, so a lost gateway is noticed by the balancer's checks too. */
const silentLossMs = bounds.silentLoss + 1_500;

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
    ...replicaFaults("gateway", ["gateway-1", "gateway-2"], silentLossMs),
    ...replicaFaults("kube-api", ["kube-api-1", "kube-api-2"], silentLossMs),
    ...replicaFaults("datastore", ["datastore-1", "datastore-2"], silentLossMs),
    // Not in the way of a request that is already known: one of each shows it.
    ...replicaFaults("registration", ["registration-1"], silentLossMs),
    ...replicaFaults("Redis", ["redis"], silentLossMs),
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

import { Cluster } from "../src/cluster.ts";
import { balancerFaults } from "../src/standard-faults.ts";
import { describeTopology } from "../src/suite.ts";

const downMs = 3_000;

describeTopology({
  name: "single server, SQLite",
  build: async () => {
    const cluster = await Cluster.create("sqlite", 1);
    await cluster.addBalancer(1);
    await cluster.addServer(1, []);
    await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
    return cluster;
  },
  faults: [
    ...(["kill", "pause", "disconnect"] as const).map((kind) => ({
      title: `${kind} server server-1`,
      fault: (cluster: Cluster) => ({
        role: "server (the only one)",
        kind,
        node: cluster.node("server-1"),
        heldMs: downMs,
        // There is no other: it is away as long as it is down, starts, and is found again.
        maxOutageMs: downMs + 5_000,
      }),
    })),
    ...balancerFaults(),
  ],
});

import { Cluster } from "../src/cluster.ts";
import { balancerFaults } from "../src/standard-faults.ts";
import { bounds, describeTopology } from "../src/suite.ts";

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
      fault: (cluster: Cluster) => {
        const node = cluster.node("server-1");
        // There is no other: it is away until it says itself that it serves, and has to be found again.
        const isBack = (): Promise<boolean> => node.succeeds("bash", "/app/deploy/image/healthcheck.sh");
        const afterMs = 3_000 + (kind === "disconnect" ? bounds.retransmission : 0);
        const maxOutageMs = (downMs: number): number => downMs + afterMs;
        return { role: "server (the only one)", kind, node, heldMs: 3_000, isBack, maxOutageMs };
      },
    })),
    ...balancerFaults(),
  ],
});

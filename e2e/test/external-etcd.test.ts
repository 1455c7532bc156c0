import { Cluster } from "../src/cluster.ts";
import { etcdLeader } from "../src/etcd-leader.ts";
import { balancerFaults, replicaFaults } from "../src/standard-faults.ts";
import { bounds, describeTopology } from "../src/suite.ts";

const members = ["etcd-1", "etcd-2", "etcd-3"];

describeTopology({
  name: "two servers, external etcd of three",
  build: async () => {
    const cluster = await Cluster.create("external-etcd", 4);
    const [{ endpoint }] = await Promise.all([cluster.addEtcd(), cluster.addBalancer(2)]);
    const flags = ["--datastore-endpoint", endpoint];
    await Promise.all([cluster.addServer(1, flags), cluster.addServer(2, flags)]);
    await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
    return cluster;
  },
  faults: [
    ...replicaFaults("server", ["server-1", "server-2"]),
    ...(["kill", "pause", "disconnect"] as const).map((kind) => ({
      title: `${kind} etcd leader`,
      fault: async (cluster: Cluster) => ({
        role: "etcd leader",
        kind,
        node: await etcdLeader(members.map((name) => cluster.node(name))),
        heldMs: bounds.silentLeader + 2_000,
        maxOutageMs: kind === "kill" ? bounds.leader : bounds.silentLeader,
      }),
    })),
    ...balancerFaults(),
  ],
});

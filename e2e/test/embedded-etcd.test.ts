import { Cluster } from "../src/cluster.ts";
import { etcdLeader } from "../src/etcd-leader.ts";
import { balancerFaults } from "../src/standard-faults.ts";
import { bounds, describeTopology } from "../src/suite.ts";

const servers = ["server-1", "server-2", "server-3"];
const tls = "/var/lib/keelson/server/tls/etcd";
const flags = [`--cacert=${tls}/server-ca.crt`, `--cert=${tls}/client.crt`, `--key=${tls}/client.key`];

describeTopology({
  name: "three servers, embedded etcd",
  build: async () => {
    const cluster = await Cluster.create("embedded-etcd", 5);
    await cluster.addBalancer(3);
    const first = await cluster.addServer(1, ["--cluster-init"]);
    const join = ["--server", `https://${first.address}:6443`];
    await Promise.all([cluster.addServer(2, join), cluster.addServer(3, join)]);
    await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
    return cluster;
  },
  faults: [
    ...(["kill", "pause", "disconnect"] as const).map((kind) => ({
      title: `${kind} the server that leads etcd`,
      fault: async (cluster: Cluster) => ({
        role: "server, etcd leader",
        kind,
        node: await etcdLeader(
          servers.map((name) => cluster.node(name)),
          flags,
        ),
        heldMs: bounds.silentLeader + 2_000,
        maxOutageMs: kind === "kill" ? bounds.leader : bounds.silentLeader,
      }),
    })),
    ...balancerFaults(),
  ],
});

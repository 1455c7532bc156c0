import { Cluster } from "../src/cluster.ts";
import { balancerFaults, databaseFaults, databaseIsReady, replicaFaults } from "../src/standard-faults.ts";
import { describeTopology } from "../src/suite.ts";

describeTopology({
  name: "two servers, MariaDB",
  build: async () => {
    const cluster = await Cluster.create("mariadb", 3);
    const [{ endpoint }] = await Promise.all([cluster.addMariadb(), cluster.addBalancer(2)]);
    const flags = ["--datastore-endpoint", endpoint];
    await Promise.all([cluster.addServer(1, flags), cluster.addServer(2, flags)]);
    await Promise.all([cluster.addAgent(1), cluster.addAgent(2)]);
    return cluster;
  },
  faults: [
    ...replicaFaults("server", ["server-1", "server-2"]),
    ...databaseFaults(databaseIsReady.mariadb),
    ...balancerFaults(),
  ],
});

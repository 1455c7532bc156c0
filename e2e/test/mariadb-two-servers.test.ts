import { Cluster } from "../src/cluster.ts";
import { balancerFaults, databaseFaults, databaseIsReady, serverFaults } from "../src/standard-faults.ts";
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
  faults: [...serverFaults("server-1"), ...databaseFaults(databaseIsReady.mariadb), ...balancerFaults()],
});

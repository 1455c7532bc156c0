import { createLogger, systemClock } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { idleServerOptions, warnOfIdleOptions } from "../cli/k3s-options.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { stepReporter } from "../systemd.ts";
import { type ServerConfig, serverConfig } from "./config.ts";
import { serverOptions } from "./options.ts";

const ownOptions = { ...serverOptions, ...daemonOptions };

export const serverCommand = defineCommand({
  options: { ...idleServerOptions, ...ownOptions },
  configFile: true,
  async run({ options, print }) {
    const config = await serverConfig(options);
    if (options["cluster-reset"]) {
      await resetCluster(config);
      print("The cluster has been reset: this server is its only member. Start it without --cluster-reset.");
      return 0;
    }
    return runDaemon("server", options, async (deps) => {
      warnOfIdleOptions(idleServerOptions, ownOptions, options, deps.log);
      const { Server } = await import("./compose.ts");
      return new Server(config, deps, stepReporter("ready"));
    });
  },
});

/** `--cluster-reset`: makes this server's etcd member the only one, from its own data or a snapshot. */
async function resetCluster({ values, dataDir, nodeName, nodeIps }: ServerConfig): Promise<void> {
  const { ServerEtcd } = await import("../etcd/index.ts");
  const log = createLogger({ name: "server" });
  await new ServerEtcd({ values, dataDir, nodeName, address: nodeIps[0]! }, { log, clock: systemClock }).reset();
}

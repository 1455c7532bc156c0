import { createLogger, KeelsonError, systemClock } from "@keelson/service";
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
    checkResetOptions(config);
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

/** A reset ends the cluster that this server would join, and without a reset a snapshot would be passed over in silence. */
function checkResetOptions({ values, joinUrl }: ServerConfig): void {
  if (values["cluster-reset"] && joinUrl !== undefined) {
    throw new KeelsonError(
      "option/conflict",
      "cannot perform cluster-reset while server URL is set: --cluster-reset leaves this server alone, --server joins it to others",
      { hint: "leave out --server (K3S_URL, or server in the config file) until the reset is done" },
    );
  }
  if (!values["cluster-reset"] && values["cluster-reset-restore-path"] !== undefined) {
    throw new KeelsonError("option/conflict", "--cluster-reset-restore-path restores nothing without --cluster-reset", {
      hint: "add --cluster-reset to restore, or leave --cluster-reset-restore-path out",
    });
  }
}

/** `--cluster-reset`: makes this server's etcd member the only one, from its own data or a snapshot. */
async function resetCluster({ values, dataDir, nodeName, nodeIps, tokens }: ServerConfig): Promise<void> {
  const { resetServer } = await import("../etcd/index.ts");
  const deps = { log: createLogger({ name: "server" }), clock: systemClock };
  const server = { dataDir, nodeName, address: nodeIps[0]!, tokens };
  await resetServer(values, server, values["cluster-reset-restore-path"], deps);
}

import { agentConfig, agentOptions, createAgent } from "@keelson/agent";
import type { Dependencies, Service } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { idleNodeOptions, warnOfIdleOptions } from "../cli/k3s-options.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { stepReporter } from "../systemd.ts";

const ownOptions = { ...agentOptions, ...daemonOptions };

export const agentCommand = defineCommand({
  options: { ...idleNodeOptions, ...ownOptions },
  configFile: true,
  async run({ options }) {
    const config = agentConfig(options);
    const create = (deps: Dependencies): Service => {
      warnOfIdleOptions(idleNodeOptions, ownOptions, options, deps.log);
      return createAgent({ ...config, report: stepReporter("node") }, deps);
    };
    return runDaemon("agent", options, create, { processMetrics: false });
  },
});

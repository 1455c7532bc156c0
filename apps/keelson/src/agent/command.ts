import { agentConfig, agentOptions, createAgent } from "@keelson/agent";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { stepReporter } from "../systemd.ts";

export const agentCommand = defineCommand({
  options: { ...agentOptions, ...daemonOptions },
  configFile: true,
  async run({ options }) {
    const config = agentConfig(options);
    return runDaemon("agent", options, (deps) => createAgent({ ...config, report: stepReporter("node") }, deps), {
      processMetrics: false,
    });
  },
});

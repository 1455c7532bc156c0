import { type Agent, agentConfig, agentOptions, createAgent } from "@keelson/agent";
import { type Dependencies, Health, opsListenOption, type Service } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { idleNodeOptions, warnOfIdleOptions } from "../cli/k3s-options.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { withOps } from "../ops.ts";
import { stepReporter } from "../systemd.ts";

const ownOptions = { ...agentOptions, ...opsListenOption, ...daemonOptions };

export const agentCommand = defineCommand({
  options: { ...idleNodeOptions, ...ownOptions },
  configFile: true,
  async run({ options }) {
    const config = agentConfig(options);
    const opsListen = options["ops-listen"];
    const create = (deps: Dependencies): Service => {
      warnOfIdleOptions(idleNodeOptions, ownOptions, options, deps.log);
      const agent = createAgent({ ...config, report: stepReporter("node") }, deps);
      return withOps(agent, opsListen, readinessOf(agent), deps);
    };
    return runDaemon("agent", options, create, { processMetrics: opsListen !== undefined });
  },
});

/** An agent is ready when its Node is in the cluster. */
function readinessOf(agent: Agent): Health {
  const health = new Health();
  let isReady = false;
  agent.ready.then(
    () => (isReady = true),
    () => {}, // stopped before it was
  );
  health.add("node", () => (isReady ? undefined : `node ${agent.nodeName} is not in the cluster yet`));
  return health;
}

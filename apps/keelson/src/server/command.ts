import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { reportStepToParent } from "../steps.ts";
import { serverConfig } from "./config.ts";
import { serverOptions } from "./options.ts";

export const serverCommand = defineCommand({
  options: { ...serverOptions, ...daemonOptions },
  configFile: true,
  async run({ options }) {
    const config = await serverConfig(options);
    return runDaemon("server", options, async (deps) => {
      const { Server } = await import("./compose.ts");
      return new Server(config, deps, reportStepToParent);
    });
  },
});

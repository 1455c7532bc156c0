import { createRegistration, registrationConfig, registrationOptions } from "@keelson/registration";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";

export const registrationCommand = defineCommand({
  options: { ...registrationOptions, ...daemonOptions },
  configFile: true,
  async run({ options }) {
    const config = await registrationConfig(options);
    return runDaemon("registration", options, (deps) => createRegistration(config, deps));
  },
});

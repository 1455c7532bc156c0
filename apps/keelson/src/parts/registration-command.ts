import { createRegistration, registrationConfig, registrationOptions } from "@keelson/registration";
import { Health, opsListenOption } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";
import { withOps } from "../ops.ts";

export const registrationCommand = defineCommand({
  options: { ...registrationOptions, ...opsListenOption, ...daemonOptions },
  configFile: true,
  async run({ options }) {
    const config = await registrationConfig(options);
    return runDaemon("registration", options, (deps) =>
      withOps(createRegistration(config, deps), options["ops-listen"], new Health(), deps),
    );
  },
});

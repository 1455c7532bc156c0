import { createDatastore, datastoreConfig, datastoreOptions } from "@keelson/datastore";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";

export const datastoreCommand = defineCommand({
  options: { ...datastoreOptions, ...daemonOptions },
  configFile: true,
  async run({ options }) {
    const config = datastoreConfig(options);
    return runDaemon("datastore", options, (deps) => createDatastore(config, deps));
  },
});

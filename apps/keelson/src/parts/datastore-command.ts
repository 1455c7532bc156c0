import { createDatastore, datastoreConfig, datastoreOptions } from "@keelson/datastore";
import { KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";

/** `keelson datastore`, and `keelson datastore restore <snapshot file>`, which fills the database that it would serve. */
export const datastoreCommand = defineCommand({
  options: { ...datastoreOptions, ...daemonOptions },
  usage: "[restore <snapshot file>]",
  configFile: true,
  async run({ options, args, print }) {
    const config = datastoreConfig(options);
    const [action, ...rest] = args;
    if (action === undefined) return runDaemon("datastore", options, (deps) => createDatastore(config, deps));
    if (action !== "restore") {
      throw new KeelsonError("cli/usage", `unexpected argument "${action}"`, {
        hint: "keelson datastore [options] serves a database, keelson datastore restore <snapshot file> fills one",
      });
    }
    const { restore } = await import("./restore-datastore.ts");
    return restore(config, rest, print);
  },
});

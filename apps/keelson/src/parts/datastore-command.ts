import { createDatastore, datastoreConfig, datastoreOptions } from "@keelson/datastore";
import { defineOptions, KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { daemonOptions, runDaemon } from "../daemon.ts";

const restoreOptions = defineOptions({
  "skip-hash-check": {
    type: "boolean",
    help: "With restore: take a file without a hash at its end, such as the member/snap/db of a stopped etcd",
  },
});

/** `keelson datastore`, and `keelson datastore restore <snapshot file>`, which fills the database that it would serve. */
export const datastoreCommand = defineCommand({
  options: { ...datastoreOptions, ...restoreOptions, ...daemonOptions },
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
    return restore(config, rest, options["skip-hash-check"], print);
  },
});

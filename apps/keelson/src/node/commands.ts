import { listRegisteredNodes, releaseNode } from "@keelson/registration";
import { KeelsonError } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { outputOptions, printList } from "../cli/output.ts";
import { formatDuration } from "../cli/table.ts";
import { accessOptions, withClusterApi } from "../cluster/access.ts";

export const listCommand = defineCommand({
  options: { ...accessOptions, ...outputOptions },
  run: ({ options, print }) =>
    withClusterApi(options, async (api) => {
      const nodes = await listRegisteredNodes(api);
      await printList(print, options.output, nodes, ["NAME", "NODE", "AGE"], ({ name, hasNode, since }) => [
        name,
        hasNode ? "yes" : "<none>",
        since === undefined ? "<unknown>" : formatDuration(Date.now() - Date.parse(since)),
      ]);
      return 0;
    }),
});

export const releaseCommand = defineCommand({
  options: accessOptions,
  usage: "<name>...",
  run: ({ options, args, print }) =>
    withClusterApi(options, async (api) => {
      if (args.length === 0) throw new KeelsonError("command/usage", "name at least one node to release");
      for (const name of args) {
        await releaseNode(api, name);
        print(`node name "${name}" released: the next host that joins with it gets it`);
      }
      return 0;
    }),
});

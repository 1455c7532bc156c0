import type { Command } from "../cli/command.ts";

/** `keelson node …`. */
export const nodeCommand: Command = {
  name: "node",
  summary: "Show and release the names of nodes",
  children: [
    {
      name: "list",
      summary: "List the node names that are taken",
      load: async () => (await import("./commands.ts")).listCommand,
    },
    {
      name: "release",
      summary: "Forget a node's password, so that another host may take its name",
      load: async () => (await import("./commands.ts")).releaseCommand,
    },
  ],
};

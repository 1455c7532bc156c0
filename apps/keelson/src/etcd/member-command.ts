import type { Command } from "../cli/command.ts";

/** `keelson etcd …`, to be run on a server. */
export const etcdCommand: Command = {
  name: "etcd",
  summary: "Look at and mend the members of embedded etcd",
  children: [
    {
      name: "member",
      summary: "List and remove etcd members",
      children: [
        {
          name: "ls",
          aliases: ["list"],
          summary: "List the members and how they are",
          load: async () => (await import("./member-commands.ts")).listCommand,
        },
        {
          name: "remove",
          summary: "Remove the member of a server that is gone for good",
          load: async () => (await import("./member-commands.ts")).removeCommand,
        },
      ],
    },
  ],
};

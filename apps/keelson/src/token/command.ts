import type { Command } from "../cli/command.ts";

/** `keelson token …`. */
export const tokenCommand: Command = {
  name: "token",
  summary: "Manage the tokens with which nodes join",
  children: [
    {
      name: "create",
      summary: "Create a bootstrap token, with which agents join until it expires",
      load: async () => (await import("./commands.ts")).createCommand,
    },
    {
      name: "list",
      summary: "List bootstrap tokens",
      load: async () => (await import("./commands.ts")).listCommand,
    },
    {
      name: "delete",
      summary: "Delete bootstrap tokens",
      load: async () => (await import("./commands.ts")).deleteCommand,
    },
    {
      name: "generate",
      summary: "Print a random bootstrap token without creating it",
      load: async () => (await import("./commands.ts")).generateCommand,
    },
    {
      name: "rotate",
      summary: "Replace the server token on every server, without a restart",
      load: async () => (await import("./commands.ts")).rotateCommand,
    },
  ],
};

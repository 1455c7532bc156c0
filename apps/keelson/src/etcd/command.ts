import type { Command } from "../cli/command.ts";

/** `keelson etcd-snapshot …`, to be run on a server. */
export const etcdSnapshotCommand: Command = {
  name: "etcd-snapshot",
  summary: "Save, list, delete and restore snapshots of embedded etcd",
  children: [
    {
      name: "save",
      summary: "Take a snapshot now",
      load: async () => (await import("./snapshots/commands.ts")).saveCommand,
    },
    {
      name: "ls",
      aliases: ["list", "l"],
      summary: "List snapshots, newest first",
      load: async () => (await import("./snapshots/commands.ts")).listCommand,
    },
    {
      name: "delete",
      summary: "Delete snapshots by name",
      load: async () => (await import("./snapshots/commands.ts")).deleteCommand,
    },
    {
      name: "prune",
      summary: "Delete all but the newest snapshots",
      load: async () => (await import("./snapshots/commands.ts")).pruneCommand,
    },
    {
      name: "restore",
      summary: "Make this stopped server the only member of its cluster, with the data of a snapshot",
      load: async () => (await import("./snapshots/restore-command.ts")).restoreCommand,
    },
  ],
};

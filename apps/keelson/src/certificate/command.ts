import type { Command } from "../cli/command.ts";

/** `keelson certificate …`, to be run on a server. */
export const certificateCommand: Command = {
  name: "certificate",
  summary: "Check and renew the certificates of this host's server",
  children: [
    {
      name: "check",
      summary: "Show every certificate on this host and when it ends",
      load: async () => (await import("./commands.ts")).checkCommand,
    },
    {
      name: "rotate",
      summary: "Renew certificates now, without a restart",
      load: async () => (await import("./commands.ts")).rotateCommand,
    },
    {
      name: "rotate-ca",
      summary: "Replace the certificate authorities of the cluster",
      load: async () => (await import("./commands.ts")).rotateCaCommand,
    },
  ],
};

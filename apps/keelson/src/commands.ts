import { certificateCommand } from "./certificate/command.ts";
import type { Command } from "./cli/command.ts";
import { nodeCommand } from "./node/command.ts";
import { tokenCommand } from "./token/command.ts";

/** The whole command tree. Code is loaded by the command that runs, so that an agent carries no server in memory. */
export const commands: readonly Command[] = [
  {
    name: "dev",
    summary: "Run a local cluster on this machine: servers, agents and a kubeconfig",
    load: async () => (await import("./dev/command.ts")).devCommand,
  },
  {
    name: "server",
    summary: "Run a server: API, supervisor gateway, registration and datastore in one process",
    load: async () => (await import("./server/command.ts")).serverCommand,
  },
  {
    name: "agent",
    summary: "Run an agent: join this node to a cluster and keep it reachable",
    load: async () => (await import("./agent/command.ts")).agentCommand,
  },
  tokenCommand,
  nodeCommand,
  certificateCommand,
  {
    name: "completion",
    summary: "Print the completion script of a shell",
    load: async () => (await import("./cli/completion.ts")).completionCommand,
  },
];

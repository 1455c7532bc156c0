import { certificateCommand } from "./certificate/command.ts";
import type { Command } from "./cli/command.ts";
import { etcdSnapshotCommand } from "./etcd/command.ts";
import { etcdCommand } from "./etcd/member-command.ts";
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
  {
    name: "status",
    summary: "Show how this host's server or agent is, what is wrong, since when, and what to do",
    load: async () => (await import("./status/command.ts")).statusCommand,
  },
  tokenCommand,
  nodeCommand,
  certificateCommand,
  {
    name: "gateway",
    summary: "Run the supervisor gateway alone: the public port of a cluster whose parts are scaled apart",
    load: async () => (await import("./parts/gateway-command.ts")).gatewayCommand,
  },
  {
    name: "registration",
    summary: "Run registration alone: CA keys, tokens and node passwords",
    load: async () => (await import("./parts/registration-command.ts")).registrationCommand,
  },
  {
    name: "kube-api",
    summary: "Run the embedded Kubernetes API alone",
    load: async () => (await import("./parts/kube-api-command.ts")).kubeApiCommand,
  },
  {
    name: "datastore",
    summary: "Run the datastore adapter alone: etcd's API over SQLite, PostgreSQL, MySQL or etcd",
    load: async () => (await import("./parts/datastore-command.ts")).datastoreCommand,
  },
  etcdSnapshotCommand,
  etcdCommand,
  {
    name: "completion",
    summary: "Print the completion script of a shell",
    load: async () => (await import("./cli/completion.ts")).completionCommand,
  },
];

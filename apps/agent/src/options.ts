import { hostname } from "node:os";
import { parseServerUrl } from "@keelson/load-balancer";
import { parseToken } from "@keelson/secret-format";
import { dataDirOption, defineOptions, KeelsonError, type OptionValues } from "@keelson/service";
import type { AgentConfig } from "./config.ts";
import { defaultNodePasswordFile } from "./identity/node-password.ts";
import { nodeConfig, nodeOptions } from "./node/node-options.ts";

/** Options of an agent; names and variables are K3s's where the meaning is the same. */
export const agentOptions = defineOptions({
  server: {
    type: "list",
    short: "s",
    env: "K3S_URL",
    placeholder: "url",
    help: "Server to join, https://host:6443; repeat it for several, a name with many records counts as many.",
  },
  token: { type: "string", short: "t", env: "K3S_TOKEN", secret: true, help: "Cluster secret, or agent token." },
  "token-file": {
    type: "string",
    env: "K3S_TOKEN_FILE",
    insteadOf: "token",
    placeholder: "file",
    help: "File with the token.",
  },
  "data-dir": { ...dataDirOption, help: "Folder of the agent's state." },
  "node-name": { type: "string", env: "K3S_NODE_NAME", help: "Node name (the host's name)." },
  "with-node-id": { type: "boolean", help: "Append a unique id to the node name." },
  "node-ip": { type: "list", short: "i", placeholder: "ip", help: "Addresses of the node." },
  ...nodeOptions,
  "bind-address": { type: "string", placeholder: "ip", help: "Address that the kubelet listens on (all)." },
  "lb-server-port": {
    type: "number",
    env: "K3S_LB_SERVER_PORT",
    default: 6444,
    help: "Local port of the client load balancer.",
  },
  "node-password-file": {
    type: "string",
    default: defaultNodePasswordFile,
    placeholder: "file",
    help: "File with the node password; created when missing.",
  },
});

export type AgentOptionValues = OptionValues<typeof agentOptions>;

/** Checks the values and makes a configuration of them. Throws `option/invalid` and what the parsers of URL and token throw. */
export function agentConfig(values: AgentOptionValues): AgentConfig {
  if (values.server.length === 0) {
    throw new KeelsonError("option/missing", "an agent needs the address of a server", {
      hint: "give --server=https://<host>:6443 or set K3S_URL",
    });
  }
  for (const server of values.server) parseServerUrl(server);
  if (values.token === undefined && values["token-file"] === undefined) {
    throw new KeelsonError("option/missing", "an agent needs the cluster's token", {
      hint: "set K3S_TOKEN, or give --token-file; a server keeps its token in server/token",
    });
  }
  if (values.token !== undefined) parseToken(values.token);
  return {
    servers: values.server,
    ...(values.token === undefined ? { tokenFile: values["token-file"]! } : { token: values.token }),
    dataDir: values["data-dir"],
    nodeName: values["node-name"] ?? hostname(),
    withNodeId: values["with-node-id"],
    nodePasswordFile: values["node-password-file"],
    lbPort: values["lb-server-port"],
    nodeIps: values["node-ip"],
    ...nodeConfig(values, values["data-dir"], { bindAddress: values["bind-address"], findKubelet: true }),
  };
}

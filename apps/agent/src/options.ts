import { accessSync, constants } from "node:fs";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { delimiter, join } from "node:path";
import { parseServerUrl } from "@keelson/load-balancer";
import { parseToken } from "@keelson/secret-format";
import { dataDirOption, defineOptions, KeelsonError, type OptionValues } from "@keelson/service";
import type { AgentConfig } from "./config.ts";
import { defaultNodePasswordFile } from "./identity/node-password.ts";

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
  "node-external-ip": { type: "list", placeholder: "ip", help: "External addresses of the node." },
  "node-label": { type: "list", placeholder: "key=value", help: "Labels to register the node with." },
  "node-taint": { type: "list", placeholder: "key=value:effect", help: "Taints to register the node with." },
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
  "kubelet-path": {
    type: "string",
    placeholder: "file",
    help: 'kubelet to run (the one in PATH; without any, or with "", the agent keeps the Node itself).',
  },
  "kubelet-arg": { type: "list", keepCommas: true, placeholder: "name=value", help: "Extra flags for the kubelet." },
  "container-runtime-endpoint": { type: "string", placeholder: "url", help: "Socket of the container runtime." },
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
  const kubeletPath = values["kubelet-path"] ?? findProgram("kubelet");
  const runtimeEndpoint = values["container-runtime-endpoint"];
  return {
    servers: values.server,
    ...(values.token === undefined ? { tokenFile: values["token-file"]! } : { token: values.token }),
    dataDir: values["data-dir"],
    nodeName: values["node-name"] ?? hostname(),
    withNodeId: values["with-node-id"],
    nodePasswordFile: values["node-password-file"],
    lbPort: values["lb-server-port"],
    nodeIps: values["node-ip"],
    nodeExternalIps: values["node-external-ip"],
    nodeLabels: Object.fromEntries(values["node-label"].map(parseLabel)),
    nodeTaints: values["node-taint"].map(parseTaint),
    kubelet:
      kubeletPath === undefined || kubeletPath === ""
        ? undefined
        : {
            path: kubeletPath,
            args: kubeletArgs(values),
            runtimeEndpoint,
            rootDir: join(values["data-dir"], "agent"),
          },
  };
}

/** What is given to the kubelet word for word comes last, and so wins. */
function kubeletArgs(values: AgentOptionValues): readonly string[] {
  const address = values["bind-address"];
  if (address === undefined) return values["kubelet-arg"];
  if (isIP(address) === 0) throw invalid("bind-address", address, "an IP address");
  return [`address=${address}`, ...values["kubelet-arg"]];
}

/** The path of a program in PATH, if it is there. */
function findProgram(name: string): string | undefined {
  const paths = (process.env.PATH ?? "").split(delimiter).map((directory) => join(directory, name));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false; // not in this folder
    }
  });
}

function parseLabel(text: string): [string, string] {
  const equals = text.indexOf("=");
  if (equals < 1) throw invalid("node-label", text, "key=value");
  return [text.slice(0, equals), text.slice(equals + 1)];
}

function parseTaint(text: string): { key: string; value?: string; effect: string } {
  const match = /^([^=:]+)(?:=([^:]*))?:(NoSchedule|PreferNoSchedule|NoExecute)$/.exec(text);
  if (match === null) throw invalid("node-taint", text, "key=value:NoSchedule");
  return { key: match[1]!, ...(match[2] === undefined ? {} : { value: match[2] }), effect: match[3]! };
}

function invalid(option: string, text: string, expected: string): KeelsonError {
  return new KeelsonError("option/invalid", `--${option} must be ${expected}, got ${JSON.stringify(text)}`);
}

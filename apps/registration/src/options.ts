import { readFile } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { tlsFromFiles } from "@keelson/etcd-client";
import { dataDirOption, defineOptions, KeelsonError, type OptionValues, parseListenAddress } from "@keelson/service";
import type { CreateRegistrationConfig } from "./create-registration.ts";

/** Options of registration when it runs alone; the names are K3s's where the meaning is the same. */
export const registrationOptions = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder of the server's state; CAs and tokens live below server/ in it" },
  token: {
    type: "list",
    // A password may contain anything: more than one are given one by one.
    keepCommas: true,
    short: "t",
    env: "K3S_TOKEN",
    secret: true,
    help: "Server token; several are tried in turn against an existing cluster",
  },
  "token-file": {
    type: "string",
    env: "K3S_TOKEN_FILE",
    insteadOf: "token",
    placeholder: "file",
    help: "File that holds the server token",
  },
  "agent-token": {
    type: "string",
    env: "K3S_AGENT_TOKEN",
    secret: true,
    help: "Token of agents, if they have their own",
  },
  "agent-token-file": {
    type: "string",
    env: "K3S_AGENT_TOKEN_FILE",
    insteadOf: "agent-token",
    placeholder: "file",
    help: "File that holds the agent token",
  },
  listen: {
    type: "string",
    default: "127.0.0.1:6445",
    placeholder: "ip:port",
    help: "Where gateways and other parts reach registration (mutual TLS)",
  },
  "node-name": { type: "string", env: "K3S_NODE_NAME", placeholder: "name", help: "Name of this host (its host name)" },
  "node-ip": { type: "list", short: "i", placeholder: "ip", help: "Addresses of this host" },
  "advertise-address": { type: "string", placeholder: "ip", help: "Address that agents use for the gateway" },
  "https-listen-port": { type: "number", default: 6443, placeholder: "port", help: "Port of the gateway" },
  "tls-san": { type: "list", placeholder: "name", help: "More names for the gateway's certificate" },
  "tls-san-security": {
    type: "boolean",
    default: true,
    help: "Add only names and addresses of servers to the gateway's certificate",
  },
  "kube-api": {
    type: "string",
    placeholder: "url",
    help: "Kubernetes API, https://host:port or unix:///path",
  },
  "datastore-endpoint": {
    type: "list",
    env: "K3S_DATASTORE_ENDPOINT",
    placeholder: "url",
    help: "etcd API of the datastore, for the identity that servers share",
  },
  "datastore-cafile": {
    type: "string",
    env: "K3S_DATASTORE_CAFILE",
    placeholder: "file",
    help: "Authorities of the datastore's certificate",
  },
  "datastore-certfile": {
    type: "string",
    env: "K3S_DATASTORE_CERTFILE",
    placeholder: "file",
    help: "Client certificate for the datastore",
  },
  "datastore-keyfile": {
    type: "string",
    env: "K3S_DATASTORE_KEYFILE",
    placeholder: "file",
    help: "Key of the client certificate",
  },
});

type Values = OptionValues<typeof registrationOptions>;

/** Reads the token files and turns options into a configuration. Throws `option/invalid` naming the option. */
export async function registrationConfig(values: Values): Promise<CreateRegistrationConfig> {
  const dataDir = values["data-dir"];
  const tokens = [...values.token, ...(await readToken("token-file", values["token-file"]))];
  const [agentToken] = [
    values["agent-token"],
    ...(await readToken("agent-token-file", values["agent-token-file"])),
  ].filter((token) => token !== undefined);
  const endpoints = values["datastore-endpoint"];
  const { "datastore-cafile": ca, "datastore-certfile": cert, "datastore-keyfile": key } = values;
  const advertiseAddress = values["advertise-address"];
  return {
    dataDir,
    nodeName: values["node-name"] ?? hostname(),
    nodeIps: values["node-ip"],
    httpsPort: values["https-listen-port"],
    tlsSans: values["tls-san"],
    tlsSanSecurity: values["tls-san-security"],
    internalApi: parseListenAddress("listen", values.listen),
    sharedDatastore: endpoints.length > 0,
    kube: kubeTarget(values["kube-api"], join(dataDir, "server")),
    ...(tokens.length === 0 ? {} : { token: tokens }),
    ...(agentToken === undefined ? {} : { agentToken }),
    ...(advertiseAddress === undefined ? {} : { advertiseAddress }),
    ...(endpoints.length === 0
      ? {}
      : { etcd: { endpoints, ...(ca === undefined ? {} : { tls: tlsFromFiles({ ca, cert, key }) }) } }),
  };
}

async function readToken(option: string, file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  try {
    return [(await readFile(file, "utf8")).trim()];
  } catch (cause) {
    throw new KeelsonError("option/invalid", `--${option}: ${file} cannot be read`, { cause });
  }
}

function kubeTarget(url: string | undefined, serverDir: string): CreateRegistrationConfig["kube"] {
  if (url === undefined) return { socketPath: join(serverDir, "kube-api.sock") };
  if (url.startsWith("unix://")) return { socketPath: url.slice("unix://".length) };
  return { server: url };
}

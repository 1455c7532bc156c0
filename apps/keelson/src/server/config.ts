import { readFile } from "node:fs/promises";
import { hostname, networkInterfaces } from "node:os";
import { join } from "node:path";
import { nodeConfig } from "@keelson/agent/node-options";
import { KeelsonError, type OptionValues } from "@keelson/service";
import type { serverOptions } from "./options.ts";

export type ServerValues = OptionValues<typeof serverOptions>;

/** What a server is told, parsed and complete: every address and file is known. */
export interface ServerConfig {
  dataDir: string;
  tokens: readonly string[];
  agentToken: string | undefined;
  nodeName: string;
  nodeIps: readonly string[];
  bindAddress: string;
  httpsPort: number;
  advertise: { address: string; port: number };
  tlsSans: readonly string[];
  tlsSanSecurity: boolean;
  /** Endpoint string of the datastore; SQLite below the data directory when none was given. */
  datastoreEndpoint: string;
  datastoreTls: { caFile: string | undefined; certFile: string | undefined; keyFile: string | undefined };
  /** `--server`: the cluster to join. */
  joinUrl: string | undefined;
  /** `ip:port` of the etcd API for people and tools, or undefined. */
  datastoreListen: string | undefined;
  kubeconfig: { path: string; mode: number };
  /** What the server is as a node of its cluster; undefined with --disable-agent. */
  node: ReturnType<typeof nodeConfig> | undefined;
  values: ServerValues;
}

/** Checks the options and fills in what the host knows. Throws `option/invalid` or `option/unsupported` naming the option. */
export async function serverConfig(values: ServerValues): Promise<ServerConfig> {
  if (values["secrets-encryption"]) {
    // To go on without it would leave in the clear what somebody wanted to be hidden.
    throw new KeelsonError(
      "option/unsupported",
      "--secrets-encryption is not supported: Secrets are stored as they are",
      {
        hint: "leave the option out, and encrypt the disk of the datastore instead",
      },
    );
  }
  const nodeIps = values["node-ip"].length > 0 ? values["node-ip"] : [hostAddress(values["bind-address"])];
  const dataDir = values["data-dir"];
  const endpoint = values["datastore-endpoint"];
  const tokens = await serverTokens(values);
  const mode = Number.parseInt(values["write-kubeconfig-mode"], 8);
  if (Number.isNaN(mode)) throw invalid("write-kubeconfig-mode", values["write-kubeconfig-mode"], "an octal file mode");
  return {
    dataDir,
    tokens,
    agentToken: values["agent-token"] ?? (await tokenIn("agent-token-file", values["agent-token-file"]))[0],
    nodeName: (values["node-name"] ?? hostname()).toLowerCase(),
    nodeIps,
    bindAddress: values["bind-address"],
    httpsPort: port("https-listen-port", values["https-listen-port"]),
    advertise: {
      address: values["advertise-address"] ?? nodeIps[0]!,
      port: port("advertise-port", values["advertise-port"] ?? values["https-listen-port"]),
    },
    tlsSans: values["tls-san"],
    tlsSanSecurity: values["tls-san-security"],
    datastoreEndpoint: endpoint ?? `sqlite://${join(dataDir, "server", "db", "state.db")}`,
    datastoreTls: {
      caFile: values["datastore-cafile"],
      certFile: values["datastore-certfile"],
      keyFile: values["datastore-keyfile"],
    },
    joinUrl: values.server,
    datastoreListen: values["datastore-listen-address"] || undefined,
    kubeconfig: { path: values["write-kubeconfig"] ?? join(dataDir, "server", "cred", "keelson.yaml"), mode },
    node: values["disable-agent"] ? undefined : nodeConfig(values, dataDir, { findKubelet: false }),
    values,
  };
}

/** The server tokens that `--token` and `--token-file` give. Throws `option/invalid` when the file cannot be read. */
export async function serverTokens(values: Pick<ServerValues, "token" | "token-file">): Promise<string[]> {
  return [...values.token, ...(await tokenIn("token-file", values["token-file"]))];
}

async function tokenIn(option: string, file: string | undefined): Promise<string[]> {
  if (file === undefined) return [];
  try {
    return [(await readFile(file, "utf8")).trim()];
  } catch (cause) {
    throw new KeelsonError("option/invalid", `--${option}: cannot read ${file}`, { cause });
  }
}

/** The address other hosts use: the one that is bound, or the first that is not loopback, of IPv4 if there is one. */
function hostAddress(bindAddress: string): string {
  if (bindAddress !== "0.0.0.0" && bindAddress !== "::") return bindAddress;
  const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
  const reachable = all.filter(({ internal, address }) => !internal && !address.startsWith("fe80:"));
  const found = reachable.find(({ family }) => family === "IPv4") ?? reachable[0];
  return found?.address ?? "127.0.0.1";
}

function port(option: string, value: number): number {
  if (!Number.isInteger(value) || value < 1 || value > 65_535)
    throw invalid(option, value, "a port between 1 and 65535");
  return value;
}

function invalid(option: string, value: unknown, expected: string): KeelsonError {
  return new KeelsonError("option/invalid", `--${option} must be ${expected}, got ${JSON.stringify(value)}`);
}

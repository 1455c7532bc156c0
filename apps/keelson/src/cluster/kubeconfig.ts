import { readFile } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { errorCode, errorMessage, KeelsonError } from "@keelson/service";
import { parse } from "yaml";

/** How a kubeconfig's current context reaches its cluster. */
export interface ClusterAccess {
  server: string;
  tls: { ca: string; cert: string; key: string };
}

interface Entry {
  name?: string;
  cluster?: Record<string, unknown>;
  context?: Record<string, unknown>;
  user?: Record<string, unknown>;
}

/**
 * Reads the first kubeconfig that there is: the named one, `$KUBECONFIG`, the one of the server on this host, `~/.kube/config`.
 * Only client certificates are read, embedded or as files.
 */
export async function readClusterAccess(named: string | undefined, dataDir: string): Promise<ClusterAccess> {
  const candidates = named === undefined ? defaultPaths(dataDir) : [named];
  for (const path of candidates) {
    let text: string;
    try {
      text = await readFile(path, "utf8");
    } catch (cause) {
      if (named === undefined && errorCode(cause) === "ENOENT") continue;
      throw new KeelsonError("kubeconfig/unreadable", `the kubeconfig ${path} cannot be read: ${errorMessage(cause)}`, {
        cause,
      });
    }
    return parseKubeconfig(text, path);
  }
  throw new KeelsonError("kubeconfig/missing", `there is no kubeconfig at ${candidates.join(", ")}`, {
    hint: "name one with --kubeconfig, or the data directory of the server on this host with --data-dir",
  });
}

function defaultPaths(dataDir: string): string[] {
  const fromEnvironment = (process.env.KUBECONFIG ?? "").split(":").filter((path) => path !== "");
  const own = ["keelson.yaml", "admin.kubeconfig"].map((name) => join(dataDir, "server", "cred", name));
  return [...fromEnvironment, ...own, join(homedir(), ".kube", "config")];
}

/** The current context of a kubeconfig; `path` is where its relative file names start. */
export async function parseKubeconfig(text: string, path: string): Promise<ClusterAccess> {
  const invalid = (what: string): KeelsonError =>
    new KeelsonError("kubeconfig/invalid", `the kubeconfig ${path} ${what}`);
  let config: Record<string, unknown>;
  try {
    config = parse(text) as Record<string, unknown>;
  } catch (cause) {
    throw new KeelsonError("kubeconfig/invalid", `the kubeconfig ${path} is not YAML`, { cause });
  }
  const find = (list: string, name: unknown): Entry => {
    const entries = config?.[list];
    const found = Array.isArray(entries) ? (entries as Entry[]).find((entry) => entry.name === name) : undefined;
    if (found === undefined) throw invalid(`has no entry "${String(name)}" in ${list}`);
    return found;
  };
  const context = find("contexts", config?.["current-context"]).context ?? {};
  const cluster = find("clusters", context.cluster).cluster ?? {};
  const user = find("users", context.user).user ?? {};
  const { server } = cluster;
  if (typeof server !== "string") throw invalid("names no server");
  const pem = async (entry: Record<string, unknown>, name: string): Promise<string> => {
    const [data, file] = [entry[`${name}-data`], entry[name]];
    if (typeof data === "string") return Buffer.from(data, "base64").toString("utf8");
    if (typeof file === "string") return readFile(resolve(dirname(path), file), "utf8");
    throw invalid(`has no ${name}`);
  };
  const [ca, cert, key] = await Promise.all([
    pem(cluster, "certificate-authority"),
    pem(user, "client-certificate"),
    pem(user, "client-key"),
  ]);
  return { server, tls: { ca, cert, key } };
}

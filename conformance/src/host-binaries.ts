import { accessSync, constants, readdirSync } from "node:fs";
import { delimiter, join } from "node:path";

/** Programs that no package of the distribution brings: nothing requires them. */
const unpackaged = ["kine", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"] as const;
type Unpackaged = (typeof unpackaged)[number];

/** Programs of the host that tests compare with or run on. */
export type HostBinary =
  | "etcd"
  | "etcdctl"
  | "postgres"
  | "initdb"
  | "mariadbd"
  | "mariadb-install-db"
  | "redis-server"
  | "kubectl"
  | Unpackaged;

/** `KEELSON_REQUIRE_ALL=1`: a missing program fails the test that needs it instead of skipping it. */
export const requireAll = process.env.KEELSON_REQUIRE_ALL === "1";

/**
 * An absolute path, or undefined when the host has no such program. `KINE_BIN` names kine's, `KUBERNETES_BIN` the folder with
 * Kubernetes' (scripts/kubernetes-from-debian.sh makes one).
 */
export function findBinary(name: HostBinary): string | undefined {
  if (name === "kine") return process.env.KINE_BIN;
  if (isUnpackaged(name)) return process.env.KUBERNETES_BIN && join(process.env.KUBERNETES_BIN, name);
  return [...searchPath(), ...postgresDirectories()].map((directory) => join(directory, name)).find(isExecutable);
}

/** As {@link findBinary}, for code that cannot go on without. */
export function requireBinary(name: HostBinary): string {
  const path = findBinary(name);
  if (path === undefined) throw new Error(`${name} is not installed on this host`);
  return path;
}

/**
 * For `describe.skipIf(lacks("etcd"))`: true when one of the programs is missing, with the reason printed. Under
 * `KEELSON_REQUIRE_ALL=1` it throws, so that the test file fails; not for programs that cannot be installed.
 */
export function lacks(...names: HostBinary[]): boolean {
  const missing = names.filter((name) => findBinary(name) === undefined);
  if (missing.length === 0) return false;
  const reason = `${missing.join(", ")} not installed on this host`;
  if (requireAll && !missing.every(isUnpackaged))
    throw new Error(`${reason}, and KEELSON_REQUIRE_ALL=1 forbids to skip`);
  console.warn(`skipped: ${reason}`);
  return true;
}

function isUnpackaged(name: HostBinary): name is Unpackaged {
  return (unpackaged as readonly string[]).includes(name);
}

function searchPath(): string[] {
  // Daemons live in sbin directories, which are not on every user's path.
  return [...(process.env.PATH ?? "").split(delimiter), "/usr/local/sbin", "/usr/sbin", "/sbin"];
}

/** Debian keeps PostgreSQL's programs off the path, by version; the newest comes first. */
function postgresDirectories(): string[] {
  const root = "/usr/lib/postgresql";
  try {
    return readdirSync(root)
      .sort((a, b) => Number(b) - Number(a))
      .map((version) => join(root, version, "bin"));
  } catch {
    return []; // not a Debian host, or no PostgreSQL
  }
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

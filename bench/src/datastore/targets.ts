import {
  backends,
  findBinary,
  freePort,
  ServerProcess,
  startAdapter,
  startBackend,
  startEtcd,
} from "@keelson/conformance";
import { residentMiB } from "../resident-memory.ts";

/** What is measured: etcd, the adapter on each backend, and kine where `KINE_BIN` names it. */
export const targetNames = ["etcd", "sqlite", "postgres", "mariadb", "kine"] as const;
export type TargetName = (typeof targetNames)[number];

/** A server with an empty store. */
export interface Target {
  name: TargetName;
  url: string;
  /** Resident memory of the process that serves, in MiB; the database's own processes are not in it. */
  residentMiB(): number;
  close(): Promise<void>;
}

/** The targets that this host can run. */
export function availableTargets(): TargetName[] {
  return targetNames.filter((name) => {
    if (name === "etcd") return findBinary("etcd") !== undefined;
    if (name === "postgres") return findBinary("postgres") !== undefined;
    if (name === "mariadb") return findBinary("mariadbd") !== undefined;
    return name === "sqlite" || findBinary("kine") !== undefined;
  });
}

/** `historyRevisions`: compact beyond so many revisions, for the adapter. */
export async function startTarget(name: TargetName, options: { historyRevisions?: number } = {}): Promise<Target> {
  if (name === "etcd") {
    const etcd = await startEtcd();
    return { name, url: etcd.url, residentMiB: () => residentMiB(etcd.process.pid), close: () => etcd.close() };
  }
  const backend = await startBackend(backends.find((known) => known === name) ?? "sqlite");
  const server =
    name === "kine"
      ? await startKine(backend.freshEndpoint())
      : await startAdapter(backend.freshEndpoint(), compaction(options));
  return {
    name,
    url: server.url,
    residentMiB: () => residentMiB(server.process.pid),
    close: async () => {
      await server.process.stop();
      await backend.close();
    },
  };
}

function compaction({ historyRevisions }: { historyRevisions?: number }): Parameters<typeof startAdapter>[1] {
  if (historyRevisions === undefined) return {};
  return { compaction: { retentionMs: 1_000, minRetain: 1_000, maxRetain: historyRevisions } };
}

async function startKine(endpoint: string): Promise<{ url: string; process: ServerProcess }> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const process = new ServerProcess({
    name: "kine",
    file: findBinary("kine")!,
    args: ["--endpoint", endpoint, "--listen-address", new URL(url).host, "--metrics-bind-address", "0"],
    ready: (output) => /listening/i.test(output),
  });
  await process.start();
  return { url, process };
}

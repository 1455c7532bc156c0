import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import type { SavedIdentity } from "@keelson/registration";
import { nodePasswordNamespace, nodePasswordSecretName } from "@keelson/secret-format";
import {
  type Dependencies,
  errorCode,
  errorMessage,
  folderOwnership,
  KeelsonError,
  readFileIfExists,
  SupervisedChild,
  withDefaults,
  writeFileAtomic,
} from "@keelson/service";
import { defaultPorts, type EmbeddedEtcdConfig, type EmbeddedEtcdDependencies, localClientUrl } from "./config.ts";
import { connectEtcd } from "./connect.ts";
import { type EtcdLayout, etcdLayout } from "./layout.ts";
import { hasMemberData, memberName, setDataAside } from "./member-files.ts";
import { newMemberName } from "./membership.ts";
import { etcdProcessConfig, etcdUrl } from "./process-config.ts";
import { verifySnapshotFile } from "./snapshots/snapshot-store.ts";
import { unzipFile } from "./snapshots/zip-file.ts";

const run = promisify(execFile);

export interface ClusterResetOptions {
  /** Snapshot file to start from (plain or `.zip`); without it the data of this server is used. */
  restorePath?: string;
  /** `etcdutl` or `etcdctl` (whichever is found in PATH). */
  restoreToolPath?: string;
  /** Server tokens that the cluster may have had, which open its CAs in the data where they are not on disk. */
  tokens?: readonly string[];
}

/**
 * `--cluster-reset`: makes this server the only member of its cluster, from its own data or from a snapshot. The other
 * servers have to remove their data (`server/db/etcd`) and join again. Leaves etcd stopped; the next normal start of the
 * server clears the flag file that guards against resetting twice.
 */
export async function resetCluster(
  config: EmbeddedEtcdConfig,
  options: ClusterResetOptions = {},
  deps: Partial<Dependencies> & EmbeddedEtcdDependencies = {},
): Promise<void> {
  const root = join(config.dataDir, "server");
  await mkdir(root, { recursive: true, mode: 0o700 });
  // A server that runs here would lose its etcd in the middle.
  const owner = folderOwnership(root);
  await owner.start();
  try {
    await resetOwned(config, options, deps);
  } finally {
    await owner.stop();
  }
}

async function resetOwned(
  config: EmbeddedEtcdConfig,
  options: ClusterResetOptions,
  deps: Partial<Dependencies> & EmbeddedEtcdDependencies,
): Promise<void> {
  const { log } = withDefaults(deps);
  const layout = etcdLayout(config.dataDir);
  if ((await readFileIfExists(layout.resetFlag)) !== undefined) {
    throw new KeelsonError("etcd/already-reset", "the cluster was reset already", {
      hint: "start the server without --cluster-reset; start it once that way before resetting again",
    });
  }
  if (options.restorePath !== undefined) {
    const kept = await restoreSnapshot(config, layout, options, deps);
    log.info({ snapshot: options.restorePath, kept }, "restored the etcd snapshot; the old data is set aside");
  } else if (!(await hasMemberData(layout))) {
    throw new KeelsonError("etcd/no-data", `there is no etcd data in ${layout.data} to reset`, {
      hint: "name a snapshot with --cluster-reset-restore-path",
    });
  } else {
    const database = join(layout.data, "member", "snap", "db");
    if (!(await hasCertificates(layout))) await (await openIdentity(config, database, options.tokens, deps)).take();
  }
  await forceNewCluster(config, layout, deps);
  // Whoever removed it does not matter any more: the cluster is what this server has.
  await rm(layout.tombstone, { force: true });
  await writeFileAtomic(layout.resetFlag, "", 0o600);
  log.info("the cluster now has this server as its only member: start it without --cluster-reset");
}

/** A normal start: the next `--cluster-reset` is meant again. */
export async function clearResetFlag(dataDir: string): Promise<void> {
  await rm(etcdLayout(dataDir).resetFlag, { force: true });
}

/** Runs etcd once with `force-new-cluster`, until it leads a cluster of its own. */
async function forceNewCluster(
  config: EmbeddedEtcdConfig,
  layout: EtcdLayout,
  deps: Partial<Dependencies> & EmbeddedEtcdDependencies,
): Promise<void> {
  const { log, clock } = withDefaults(deps);
  const peerUrl = etcdUrl(config.address, config.peerPort ?? defaultPorts.peer);
  const text = etcdProcessConfig(layout, {
    memberName: await memberName(layout, config.nodeName),
    address: config.address,
    clientPort: config.clientPort ?? defaultPorts.client,
    peerPort: config.peerPort ?? defaultPorts.peer,
    metricsPort: config.metricsPort ?? defaultPorts.metrics,
    exposeMetrics: false,
    heartbeatIntervalMs: config.heartbeatIntervalMs ?? 150,
    electionTimeoutMs: config.electionTimeoutMs ?? 1_500,
    extraArgs: config.extraArgs ?? [],
    forceNewCluster: true,
  });
  await writeFileAtomic(layout.config, text, 0o600);
  const cluster = (deps.connect ?? connectEtcd(layout.certificates))([localClientUrl(config)]);
  const child = new SupervisedChild(
    {
      name: "etcd",
      command: config.etcdPath ?? "etcd",
      args: ["--config-file", layout.config],
      env: process.arch === "x64" ? {} : { ETCD_UNSUPPORTED_ARCH: process.arch },
      pidFile: layout.pidFile,
      quiet: true,
      ready: async () => {
        const { leaderId, memberId } = await cluster.status();
        if (leaderId !== memberId) throw new Error("no leader yet");
      },
      onExit: () => false,
    },
    { log, clock },
  );
  try {
    await child.start();
    const { memberId } = await cluster.status();
    await cluster.memberUpdate(memberId, [peerUrl]);
    // This host may be a new one, whose own agent has drawn a new password; as K3s does.
    await cluster.delete(nodePasswordKey(config.nodeName));
  } finally {
    await child.stop();
    cluster.close();
  }
}

/** Where the API server keeps the Secret with the hash of a node's password. */
function nodePasswordKey(nodeName: string): string {
  return `/registry/secrets/${nodePasswordNamespace}/${nodePasswordSecretName(nodeName)}`;
}

/** Puts a snapshot in the place of etcd's data. What is there is touched only once everything that can fail has not. */
async function restoreSnapshot(
  config: EmbeddedEtcdConfig,
  layout: EtcdLayout,
  options: ClusterResetOptions,
  deps: Partial<Dependencies>,
): Promise<string | undefined> {
  const source = options.restorePath ?? "";
  await mkdir(layout.db, { recursive: true });
  const scratch = await mkdtemp(join(layout.db, "restore-"));
  try {
    const snapshot = await readySnapshot(source, scratch);
    const identity = await missingIdentity(config, layout, snapshot, options.tokens, deps);
    const restored = join(scratch, "etcd");
    const name = newMemberName(config.nodeName);
    const peerUrl = etcdUrl(config.address, config.peerPort ?? defaultPorts.peer);
    await runRestoreTool(options.restoreToolPath, [
      "snapshot",
      "restore",
      snapshot,
      "--data-dir",
      restored,
      "--name",
      name,
      "--initial-cluster",
      `${name}=${peerUrl}`,
      "--initial-advertise-peer-urls",
      peerUrl,
    ]);
    await writeFileAtomic(join(restored, "name"), name, 0o600);
    await identity?.take();
    const kept = await setDataAside(layout, "etcd-old", withDefaults(deps).clock.now());
    await rename(restored, layout.data);
    return kept;
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** The snapshot as a plain file whose checksum fits. */
async function readySnapshot(source: string, scratch: string): Promise<string> {
  const snapshot = source.endsWith(".zip") ? join(scratch, "snapshot") : source;
  try {
    if (source.endsWith(".zip")) await unzipFile(source, snapshot);
    await verifySnapshotFile(snapshot);
    return snapshot;
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
    throw new KeelsonError("snapshot/not-found", `there is no snapshot at ${source}`, {
      hint: "see keelson etcd-snapshot ls",
    });
  }
}

/**
 * What a host that never was a server of this cluster, or lost its disk, has to take from the snapshot: the cluster's CAs and
 * keys. Undefined where those on disk are of the cluster, or nobody can tell because no token opens the snapshot's.
 */
async function missingIdentity(
  config: EmbeddedEtcdConfig,
  layout: EtcdLayout,
  snapshot: string,
  tokens: readonly string[] = [],
  deps: Partial<Dependencies>,
): Promise<SavedIdentity | undefined> {
  if (!(await hasCertificates(layout))) return openIdentity(config, snapshot, tokens, deps);
  try {
    const identity = await openIdentity(config, snapshot, tokens, deps);
    return identity.isOfOtherCluster ? identity : undefined;
  } catch (error) {
    if (!(error instanceof KeelsonError)) throw error;
    withDefaults(deps).log.info(
      { reason: error.message },
      "this server keeps its CAs and keys, whatever the snapshot's are",
    );
    return undefined;
  }
}

async function hasCertificates(layout: EtcdLayout): Promise<boolean> {
  const files = await Promise.all(Object.values(layout.certificates).map((file) => readFileIfExists(file)));
  return !files.includes(undefined);
}

/** The cluster's identity as a snapshot, or the database of a stopped etcd, holds it. */
async function openIdentity(
  { dataDir, nodeName, address }: EmbeddedEtcdConfig,
  file: string,
  tokens: readonly string[] = [],
  deps: Partial<Dependencies>,
): Promise<SavedIdentity> {
  const [{ readSnapshotKeys }, { openSavedIdentity }] = await Promise.all([
    import("@keelson/datastore"),
    import("@keelson/registration"),
  ]);
  const server = { dataDir, nodeName, nodeIps: [address], tokens };
  return openSavedIdentity(server, (prefix) => readSnapshotKeys(file, prefix), deps);
}

/** From etcd 3.6 on, only etcdutl restores; before, Debian ships etcdctl alone. */
async function runRestoreTool(path: string | undefined, args: readonly string[]): Promise<void> {
  const candidates = path === undefined ? ["etcdutl", "etcdctl"] : [path];
  for (const tool of candidates) {
    try {
      await run(tool, args, { env: { ...process.env, ETCDCTL_API: "3" } });
      return;
    } catch (error) {
      if (errorCode(error) === "ENOENT") continue;
      throw new KeelsonError("snapshot/restore-failed", `${tool} cannot restore the snapshot: ${errorMessage(error)}`, {
        hint: "nothing was changed; see what the tool says of the snapshot, or choose another one",
        cause: error,
      });
    }
  }
  throw new KeelsonError("snapshot/no-restore-tool", `restoring needs ${candidates.join(" or ")}, not found`, {
    hint: "install etcd-client",
  });
}

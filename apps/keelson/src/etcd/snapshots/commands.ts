import { hostname } from "node:os";
import { createKubeClient } from "@keelson/kube-client";
import { serverPaths } from "@keelson/registration";
import {
  createLogger,
  dataDirOption,
  defineOptions,
  KeelsonError,
  type OptionValues,
  readFileIfExists,
  systemClock,
} from "@keelson/service";
import type { Invocation } from "../../cli/command.ts";
import { warnOfIdleOptions } from "../../cli/k3s-options.ts";
import { readClusterAccess } from "../../cluster/kubeconfig.ts";
import { connectEtcd } from "../connect.ts";
import { etcdLayout } from "../layout.ts";
import { nodeOfMember } from "../membership.ts";
import { objectStore, snapshotConfig, snapshotOptions } from "../options.ts";
import { defineSnapshotCommand } from "./define-snapshot-command.ts";
import { type InventoryEntries, publishInventory } from "./inventory.ts";
import type { Snapshot } from "./snapshot-name.ts";
import { SnapshotService } from "./snapshot-service.ts";

/** How K3s's command finds a server: ours asks the etcd of this host. */
const idleOptions = defineOptions({
  "etcd-server": { type: "string", short: "s", hidden: true, help: "A K3s option that has no effect here" },
  "etcd-token": {
    type: "string",
    short: "t",
    secret: true,
    hidden: true,
    help: "A K3s option that has no effect here",
  },
});

const options = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder of this server" },
  "node-name": {
    type: "string",
    env: "K3S_NODE_NAME",
    placeholder: "name",
    help: "Name of this server (its host name)",
  },
  "etcd-client-port": { type: "number", default: 2379, placeholder: "port", help: "etcd's client port", hidden: true },
  ...snapshotOptions,
  name: { type: "string", placeholder: "name", help: "First part of the snapshot's name (--etcd-snapshot-name)" },
  ...idleOptions,
  output: { type: "string", short: "o", default: "table", placeholder: "format", help: "table or json" },
});

type Values = OptionValues<typeof options>;

/** `keelson etcd-snapshot save` */
export const saveCommand = defineSnapshotCommand({
  options,
  async run({ options: values, print }) {
    return withService(values, async (service) => {
      const base = values.name ?? "on-demand";
      const saved = await service.save({ base, compress: values["etcd-snapshot-compress"] });
      printSnapshots(saved, values, print);
    });
  },
});

/** `keelson etcd-snapshot ls` */
export const listCommand = defineSnapshotCommand({
  options,
  async run({ options: values, print }) {
    return withService(values, async (service) => printSnapshots(await service.list(), values, print));
  },
});

/** `keelson etcd-snapshot delete <name>...` */
export const deleteCommand = defineSnapshotCommand({
  options,
  usage: "<name>...",
  async run({ options: values, args, print }) {
    if (args.length === 0) {
      throw new KeelsonError("cli/usage", "name at least one snapshot", { hint: "see keelson etcd-snapshot ls" });
    }
    return withService(values, async (service) => {
      for (const name of args) {
        await service.delete(name);
        print(`etcd-snapshot "${name}" deleted`);
      }
    });
  },
});

/** `keelson etcd-snapshot prune` */
export const pruneCommand = defineSnapshotCommand({
  options,
  async run({ options: values, print }) {
    return withService(values, async (service) => {
      const base = values.name ?? values["etcd-snapshot-name"];
      const deleted = await service.prune({ base });
      for (const { name } of deleted) print(`etcd-snapshot "${name}" deleted`);
      if (deleted.length === 0)
        print(`nothing to delete: at most ${values["etcd-snapshot-retention"]} of "${base}" exist`);
    });
  },
});

async function withService(values: Values, action: (service: SnapshotService) => Promise<void>): Promise<number> {
  const log = createLogger({ name: "etcd-snapshot", level: "warn" });
  warnOfIdleOptions(idleOptions, {}, values, log);
  const dataDir = values["data-dir"];
  const nodeName = (values["node-name"] ?? (await nodeOfData(dataDir)) ?? hostname()).toLowerCase();
  const cluster = connectEtcd(etcdLayout(dataDir).certificates)([`https://127.0.0.1:${values["etcd-client-port"]}`]);
  const store = objectStore(values, nodeName);
  const service = new SnapshotService(snapshotConfig(values, { dataDir, nodeName, schedule: "" }), {
    log,
    clock: systemClock,
    cluster,
    ...(store === undefined ? {} : { objectStore: store }),
    onChange: (snapshots) => publish(dataDir, { nodeName, snapshots, hasStore: store !== undefined }),
  });
  try {
    await action(service);
    return 0;
  } finally {
    cluster.close();
  }
}

/** The name of the server whose etcd data this is, whatever the host is called. */
async function nodeOfData(dataDir: string): Promise<string | undefined> {
  const memberName = (await readFileIfExists(etcdLayout(dataDir).name))?.trim();
  return memberName === undefined || memberName === "" ? undefined : nodeOfMember(memberName);
}

/** Records the snapshots through the API of the server on this host, as that does with those it takes itself. */
async function publish(dataDir: string, entries: InventoryEntries): Promise<void> {
  const access = await readClusterAccess(serverPaths(dataDir).kubeconfig("admin"), dataDir);
  const kube = createKubeClient({ ...access, userAgent: "keelson-etcd-snapshot" });
  try {
    await publishInventory(kube, entries);
  } finally {
    kube.close();
  }
}

function printSnapshots(
  snapshots: readonly Snapshot[],
  values: Values,
  print: Invocation<typeof options>["print"],
): void {
  if (values.output === "json") {
    print(JSON.stringify(snapshots, undefined, 2));
    return;
  }
  const rows = [
    ["NAME", "LOCATION", "SIZE", "CREATED"],
    ...snapshots.map(({ name, location, sizeBytes, createdAtMs }) => [
      name,
      location,
      String(sizeBytes),
      new Date(createdAtMs).toISOString().replace(".000Z", "Z"),
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const row of rows)
    print(
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("   ")
        .trimEnd(),
    );
}

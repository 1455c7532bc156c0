import { mkdtemp, rm } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createLogger, dataDirOption, defineOptions, KeelsonError, systemClock } from "@keelson/service";
import { defineCommand } from "../../cli/command.ts";
import { resetCluster } from "../cluster-reset.ts";
import { embeddedEtcdConfig, etcdOptions, objectStore } from "../options.ts";

/** `keelson etcd-snapshot restore <path>`: what `keelson server --cluster-reset --cluster-reset-restore-path` does. */
export const restoreCommand = defineCommand({
  options: defineOptions({
    "data-dir": { ...dataDirOption, help: "Folder of this server" },
    "node-name": {
      type: "string",
      env: "K3S_NODE_NAME",
      placeholder: "name",
      help: "Name of this server (its host name)",
    },
    "node-ip": { type: "string", placeholder: "ip", help: "Address of this server" },
    ...etcdOptions,
  }),
  usage: "<file, or name in the S3 store>",
  async run({ options: values, args, print }) {
    const [source] = args;
    const address = values["etcd-address"] ?? values["node-ip"];
    if (source === undefined || address === undefined) {
      throw new KeelsonError("cli/usage", "name the snapshot, and this server's address with --node-ip", {
        hint: "for example: keelson etcd-snapshot restore --node-ip 10.0.0.1 /var/lib/rancher/k3s/server/db/snapshots/<name>",
      });
    }
    const nodeName = values["node-name"] ?? hostname();
    const server = { dataDir: values["data-dir"], nodeName, address, origin: { kind: "init" as const } };
    const store = objectStore(values, nodeName);
    const scratch = await mkdtemp(join(tmpdir(), "keelson-restore-"));
    try {
      const restorePath = store === undefined ? source : join(scratch, basename(source));
      if (store !== undefined) await store.download(source, restorePath);
      await resetCluster(
        embeddedEtcdConfig(values, server),
        { restorePath },
        { log: createLogger({ name: "etcd-snapshot" }), clock: systemClock },
      );
    } finally {
      await rm(scratch, { recursive: true });
    }
    print(`restored ${source}: start this server as usual, then remove server/db/etcd on the others and start them`);
    return 0;
  },
});

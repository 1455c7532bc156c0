import { hostname } from "node:os";
import { createLogger, dataDirOption, defineOptions, KeelsonError, systemClock } from "@keelson/service";
import { serverTokens } from "../../server/config.ts";
import { serverOptions } from "../../server/options.ts";
import { etcdOptions } from "../options.ts";
import { resetServer } from "../reset-server.ts";
import { defineSnapshotCommand } from "./define-snapshot-command.ts";

/** `keelson etcd-snapshot restore <path>`: what `keelson server --cluster-reset --cluster-reset-restore-path` does. */
export const restoreCommand = defineSnapshotCommand({
  options: defineOptions({
    "data-dir": { ...dataDirOption, help: "Folder of this server" },
    "node-name": {
      type: "string",
      env: "K3S_NODE_NAME",
      placeholder: "name",
      help: "Name of this server (its host name)",
    },
    token: {
      ...serverOptions.token,
      help: "Server token of the cluster, needed where server/tls is lost: it opens the CAs in the snapshot",
    },
    "token-file": serverOptions["token-file"],
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
    const nodeName = (values["node-name"] ?? hostname()).toLowerCase();
    const server = { dataDir: values["data-dir"], nodeName, address, tokens: await serverTokens(values) };
    const log = createLogger({ name: "etcd-snapshot" });
    await resetServer(values, server, source, { log, clock: systemClock });
    print(`restored ${source}: start this server as usual, then remove server/db/etcd on the others and start them`);
    return 0;
  },
});

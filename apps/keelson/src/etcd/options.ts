import { defineOptions, KeelsonError, type OptionValues } from "@keelson/service";
import type { EmbeddedEtcdConfig, EtcdOrigin } from "./config.ts";
import { etcdLayout } from "./layout.ts";
import type { ObjectStore } from "./snapshots/object-store.ts";
import { S3Store } from "./snapshots/s3-store.ts";
import type { SnapshotConfig } from "./snapshots/snapshot-service.ts";

/** Where snapshots go; also options of `keelson etcd-snapshot`. Names and variables are k3s's. */
export const snapshotOptions = defineOptions({
  "etcd-snapshot-name": {
    type: "string",
    default: "etcd-snapshot",
    placeholder: "name",
    help: "First part of the names of snapshots",
  },
  "etcd-snapshot-dir": {
    type: "string",
    placeholder: "dir",
    help: "Folder for snapshots (<data-dir>/server/db/snapshots)",
  },
  "etcd-snapshot-retention": {
    type: "number",
    default: 5,
    placeholder: "count",
    help: "How many scheduled snapshots are kept",
  },
  "etcd-snapshot-compress": { type: "boolean", help: "Compress snapshots" },
  "etcd-s3": { type: "boolean", help: "Keep snapshots in an S3-compatible store too" },
  "etcd-s3-endpoint": {
    type: "string",
    default: "s3.amazonaws.com",
    placeholder: "host",
    help: "Host of the store",
  },
  "etcd-s3-bucket": { type: "string", placeholder: "name", help: "Bucket for snapshots" },
  "etcd-s3-folder": { type: "string", placeholder: "path", help: "Folder within the bucket" },
  "etcd-s3-region": { type: "string", default: "us-east-1", placeholder: "region", help: "Region of the bucket" },
  "etcd-s3-access-key": {
    type: "string",
    env: "AWS_ACCESS_KEY_ID",
    secret: true,
    placeholder: "key",
    help: "Access key of the store",
  },
  "etcd-s3-secret-key": {
    type: "string",
    env: "AWS_SECRET_ACCESS_KEY",
    secret: true,
    placeholder: "key",
    help: "Secret key of the store",
  },
  "etcd-s3-insecure": { type: "boolean", help: "Reach the store over plain HTTP" },
  "etcd-s3-endpoint-ca": {
    type: "string",
    placeholder: "file",
    help: "CAs of the store's certificate (a file, or PEM in base64) in place of the well-known ones",
  },
  "etcd-s3-skip-ssl-verify": { type: "boolean", help: "Take any certificate of the store for its own" },
  "etcd-s3-retention": {
    type: "number",
    placeholder: "count",
    help: "How many scheduled snapshots are kept in the store (--etcd-snapshot-retention)",
  },
  "etcd-s3-timeout": { type: "duration", default: "5m", help: "How long a transfer may take" },
});

/** Options of a server with embedded etcd. */
export const etcdOptions = defineOptions({
  "cluster-init": {
    type: "boolean",
    env: "K3S_CLUSTER_INIT",
    help: "Start a new cluster with embedded etcd, which other servers can join",
  },
  "cluster-reset": {
    type: "boolean",
    env: "K3S_CLUSTER_RESET",
    help: "Make this server the only member of its etcd cluster, then exit",
  },
  "cluster-reset-restore-path": {
    type: "string",
    placeholder: "path",
    help: "Snapshot (file, or name in the S3 store) that --cluster-reset starts from",
  },
  "etcd-path": { type: "string", default: "etcd", placeholder: "path", help: "The etcd program" },
  "etcd-address": {
    type: "string",
    placeholder: "address",
    help: "Address or DNS name at which the other servers reach this etcd member (the server's address)",
  },
  "etcd-client-port": { type: "number", default: 2379, placeholder: "port", help: "etcd's client port", hidden: true },
  "etcd-peer-port": { type: "number", default: 2380, placeholder: "port", help: "etcd's peer port", hidden: true },
  "etcd-metrics-port": {
    type: "number",
    default: 2381,
    placeholder: "port",
    help: "etcd's metrics port",
    hidden: true,
  },
  "etcd-expose-metrics": {
    type: "boolean",
    help: "Serve etcd's metrics on the server's address, not on loopback alone",
  },
  "etcd-arg": { type: "list", keepCommas: true, placeholder: "name=value", help: "More settings for etcd" },
  "etcd-disable-snapshots": { type: "boolean", help: "Take no snapshots on schedule" },
  "etcd-snapshot-schedule-cron": {
    type: "string",
    default: "0 */12 * * *",
    placeholder: "cron",
    help: "When snapshots are taken: five fields, @daily and its like, or @every 5h",
  },
  ...snapshotOptions,
});

type EtcdValues = OptionValues<typeof etcdOptions>;
type SnapshotValues = OptionValues<typeof snapshotOptions>;

/** The configuration of the embedded etcd that the options describe. */
export function embeddedEtcdConfig(
  values: EtcdValues,
  server: { dataDir: string; nodeName: string; address: string; origin: EtcdOrigin },
): EmbeddedEtcdConfig {
  return {
    ...server,
    address: values["etcd-address"] ?? server.address,
    clientPort: values["etcd-client-port"],
    peerPort: values["etcd-peer-port"],
    metricsPort: values["etcd-metrics-port"],
    exposeMetrics: values["etcd-expose-metrics"],
    etcdPath: values["etcd-path"],
    extraArgs: values["etcd-arg"],
  };
}

/** Where snapshots go and when; `schedule` is empty for commands. */
export function snapshotConfig(
  values: SnapshotValues,
  server: { dataDir: string; nodeName: string; schedule: string },
): SnapshotConfig {
  return {
    directory: values["etcd-snapshot-dir"] ?? etcdLayout(server.dataDir).snapshots,
    nodeName: server.nodeName,
    name: values["etcd-snapshot-name"],
    schedule: server.schedule,
    retention: values["etcd-snapshot-retention"],
    remoteRetention: values["etcd-s3-retention"] ?? values["etcd-snapshot-retention"],
    compress: values["etcd-snapshot-compress"],
  };
}

/** The S3 store that the options name, if they do. Throws `option/invalid` when a part of its address is missing. */
export function objectStore(values: SnapshotValues, nodeName: string): ObjectStore | undefined {
  if (!values["etcd-s3"]) return undefined;
  const required = (name: "etcd-s3-bucket" | "etcd-s3-access-key" | "etcd-s3-secret-key"): string => {
    const value = values[name];
    if (value !== undefined && value !== "") return value;
    throw new KeelsonError("option/invalid", `--${name} is needed with --etcd-s3`, {
      hint: "keys may also come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; the Secret of --etcd-s3-config-secret is not read",
    });
  };
  const { "etcd-s3-folder": folder, "etcd-s3-endpoint-ca": endpointCa } = values;
  return new S3Store(
    {
      endpoint: values["etcd-s3-endpoint"],
      bucket: required("etcd-s3-bucket"),
      region: values["etcd-s3-region"],
      accessKey: required("etcd-s3-access-key"),
      secretKey: required("etcd-s3-secret-key"),
      insecure: values["etcd-s3-insecure"],
      skipVerify: values["etcd-s3-skip-ssl-verify"],
      timeoutMs: values["etcd-s3-timeout"],
      ...(folder === undefined ? {} : { folder }),
      ...(endpointCa === undefined ? {} : { endpointCa }),
    },
    nodeName,
  );
}

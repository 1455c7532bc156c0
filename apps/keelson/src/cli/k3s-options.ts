import { defineOptions, type Logger } from "@keelson/service";

const help = "A K3s option that has no effect here";
const flag = { type: "boolean", hidden: true, help } as const;
const value = { type: "string", hidden: true, help } as const;
const secret = { ...value, secret: true } as const;
const list = { type: "list", keepCommas: true, hidden: true, help } as const;

/**
 * Options of `k3s agent`, and so of `k3s server`, for parts that are not here: a container runtime, flannel, kube-proxy. A
 * `config.yaml` that K3s takes is taken, and a warning names what does nothing.
 */
export const idleNodeOptions = defineOptions({
  "airgap-extra-registry": list,
  alsologtostderr: flag,
  "default-runtime": value,
  "disable-apiserver-lb": flag,
  "disable-default-registry-endpoint": flag,
  docker: flag,
  "enable-pprof": flag,
  "flannel-cni-conf": value,
  "flannel-conf": value,
  "flannel-iface": value,
  "image-credential-provider-bin-dir": value,
  "image-credential-provider-config": value,
  "image-service-endpoint": value,
  "kube-proxy-arg": list,
  log: value,
  "node-external-dns": list,
  "node-internal-dns": list,
  "nonroot-devices": flag,
  "pause-image": value,
  "prefer-bundled-bin": flag,
  "private-registry": value,
  "protect-kernel-defaults": flag,
  "resolv-conf": value,
  rootless: flag,
  selinux: flag,
  snapshotter: value,
  vmodule: value,
  "vpn-auth": secret,
  "vpn-auth-file": value,
});

/** Options of `k3s server` for parts that are not here, beside those of its node. */
export const idleServerOptions = defineOptions({
  ...idleNodeOptions,
  "default-local-storage-path": value,
  "disable-apiserver": flag,
  "disable-controller-manager": flag,
  "disable-etcd": flag,
  "disable-scheduler": flag,
  "embedded-registry": flag,
  "etcd-s3-bucket-lookup-type": value,
  "etcd-s3-config-secret": value,
  "etcd-s3-proxy": value,
  "etcd-s3-session-token": secret,
  "etcd-snapshot-reconcile-interval": value,
  "helm-job-image": value,
  "kine-tls": flag,
  "kube-cloud-controller-manager-arg": list,
  "secrets-encryption-provider": value,
  "servicelb-namespace": value,
  "supervisor-metrics": flag,
  "with-node-id": flag,
  "write-kubeconfig-group": value,
});

/** Warns once of the options of `table` that were given and mean nothing here; what `own` declares means something. */
export function warnOfIdleOptions(
  table: Readonly<Record<string, unknown>>,
  own: Readonly<Record<string, unknown>>,
  values: Readonly<Record<string, unknown>>,
  log: Logger,
): void {
  const given = Object.keys(table).filter((name) => own[name] === undefined && isGiven(values[name]));
  if (given.length > 0) log.warn({ options: given }, "these K3s options have no effect here");
}

function isGiven(parsed: unknown): boolean {
  return Array.isArray(parsed) ? parsed.length > 0 : parsed !== undefined && parsed !== false;
}

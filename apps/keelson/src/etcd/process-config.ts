import { isIP } from "node:net";
import { KeelsonError } from "@keelson/service";
import { stringify } from "yaml";
import { loopback } from "./config.ts";
import type { EtcdLayout } from "./layout.ts";

export interface EtcdProcessOptions {
  memberName: string;
  /** Address that other servers and clients reach this member at. */
  address: string;
  clientPort: number;
  peerPort: number;
  metricsPort: number;
  exposeMetrics: boolean;
  heartbeatIntervalMs: number;
  electionTimeoutMs: number;
  /** Left out for a member that has data: etcd then knows its cluster. */
  cluster?: { initial: string; state: "new" | "existing" };
  forceNewCluster?: boolean;
  /** `name=value` in the user's words (`--etcd-arg`); override everything above. */
  extraArgs: readonly string[];
}

/** `https://address:port`, with brackets around IPv6. */
export function etcdUrl(address: string, port: number, scheme = "https"): string {
  return `${scheme}://${address.includes(":") ? `[${address}]` : address}:${port}`;
}

/** The YAML file that etcd is started with. Source of the settings: K3s's embedded etcd. */
export function etcdProcessConfig(layout: EtcdLayout, options: EtcdProcessOptions): string {
  const { address, clientPort, peerPort, metricsPort } = options;
  const { certificates } = layout;
  // etcd binds to addresses only: a member that is known by a DNS name, whose address may change, listens everywhere.
  const listenOn = (port: number): string[] =>
    isIP(address) === 0 ? [etcdUrl("0.0.0.0", port)] : [...new Set([etcdUrl(loopback, port), etcdUrl(address, port)])];
  const metrics = [etcdUrl(loopback, metricsPort, "http")];
  if (options.exposeMetrics && isIP(address) === 0) metrics[0] = etcdUrl("0.0.0.0", metricsPort, "http");
  else if (options.exposeMetrics) metrics.push(etcdUrl(address, metricsPort, "http"));
  const config: Record<string, unknown> = {
    name: options.memberName,
    "data-dir": layout.data,
    "listen-client-urls": listenOn(clientPort).join(","),
    "advertise-client-urls": etcdUrl(address, clientPort),
    "listen-peer-urls": listenOn(peerPort).join(","),
    "initial-advertise-peer-urls": etcdUrl(address, peerPort),
    "listen-metrics-urls": [...new Set(metrics)].join(","),
    "client-transport-security": {
      "cert-file": certificates.serverCert,
      "key-file": certificates.serverKey,
      "client-cert-auth": true,
      "trusted-ca-file": certificates.serverCa,
    },
    "peer-transport-security": {
      "cert-file": certificates.peerCert,
      "key-file": certificates.peerKey,
      "client-cert-auth": true,
      "trusted-ca-file": certificates.peerCa,
    },
    "heartbeat-interval": options.heartbeatIntervalMs,
    "election-timeout": options.electionTimeoutMs,
    "snapshot-count": 10_000,
    // Compaction is driven by the datastore adapter and kube-apiserver, as on every other backend.
    "auto-compaction-retention": "0",
    "experimental-initial-corrupt-check": true,
    logger: "zap",
    "log-outputs": ["stderr"],
  };
  if (options.cluster !== undefined) {
    config["initial-cluster"] = options.cluster.initial;
    config["initial-cluster-state"] = options.cluster.state;
  }
  if (options.forceNewCluster) config["force-new-cluster"] = true;
  for (const argument of options.extraArgs) {
    const [name, value] = splitArgument(argument);
    config[name] = value;
  }
  return stringify(config);
}

function splitArgument(argument: string): [string, unknown] {
  const match = /^(?:--)?([a-z0-9-]+)(?:=(.*))?$/.exec(argument);
  if (match === null) {
    throw new KeelsonError("option/invalid", `--etcd-arg ${argument} is not name=value`, {
      hint: "for example --etcd-arg quota-backend-bytes=4294967296",
    });
  }
  const [, name, value = "true"] = match;
  if (value === "true" || value === "false") return [name!, value === "true"];
  return [name!, /^\d+$/.test(value) ? Number(value) : value];
}

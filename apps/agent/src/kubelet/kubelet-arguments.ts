import type { ServerConfig } from "@keelson/protocol/supervisor";
import { argumentValue, componentArguments } from "@keelson/service";
import type { AgentLayout } from "../layout.ts";

export interface KubeletInput {
  nodeName: string;
  nodeIps: readonly string[];
  labels: Readonly<Record<string, string>>;
  taints: readonly { key: string; value?: string; effect: string }[];
  layout: AgentLayout;
  /** The cluster's settings as the server hands them out. */
  config: Pick<ServerConfig, "ClusterDNS" | "ClusterDNSs" | "ClusterDomain" | "DisableCCM">;
  /** `unix:///run/containerd/containerd.sock` */
  runtimeEndpoint: string;
  /** 31 for Kubernetes v1.31; undefined is treated as current. */
  minorVersion: number | undefined;
  /** `--kubelet-arg`; see {@link componentArguments}. */
  extra: readonly string[];
}

/** Up to here a kubelet takes a Docker for its runtime unless told otherwise; later ones do not know the word. */
const lastWithDocker = 23;

/** The flags K3s gives its kubelet, for an external runtime, in alphabetical order. */
export function kubeletArguments(input: KubeletInput): string[] {
  const { layout, config, nodeIps, minorVersion = Number.POSITIVE_INFINITY } = input;
  const dns = config.ClusterDNSs?.length ? config.ClusterDNSs.join(",") : config.ClusterDNS;
  const taints = input.taints.map(({ key, value = "", effect }) => `${key}=${value}:${effect}`);
  const flags: [name: string, value: string | undefined][] = [
    ["address", "0.0.0.0"],
    ["anonymous-auth", "false"],
    ["authentication-token-webhook", "true"],
    ["authorization-mode", "Webhook"],
    ["client-ca-file", layout.clientCa],
    ["cloud-provider", config.DisableCCM ? undefined : "external"],
    ["cluster-dns", dns === "" ? undefined : dns],
    ["cluster-domain", config.ClusterDomain],
    ["container-runtime", minorVersion <= lastWithDocker ? "remote" : undefined],
    ["container-runtime-endpoint", input.runtimeEndpoint],
    ["eviction-hard", "imagefs.available<5%,nodefs.available<5%"],
    ["eviction-minimum-reclaim", "imagefs.available=10%,nodefs.available=10%"],
    ["fail-swap-on", "false"],
    ["healthz-bind-address", "127.0.0.1"],
    ["hostname-override", input.nodeName],
    ["kubeconfig", layout.kubeconfigs[0]!.path],
    ["node-ip", nodeIps.length === 0 ? undefined : nodeIps.join(",")],
    ["node-labels", join(Object.entries(input.labels).map(([key, value]) => `${key}=${value}`))],
    ["pod-manifest-path", layout.podManifests],
    ["read-only-port", "0"],
    ["register-with-taints", join(taints)],
    ["serialize-image-pulls", "false"],
    ["tls-cert-file", layout.certificate("serving-kubelet")],
    ["tls-private-key-file", layout.key("serving-kubelet")],
  ];
  const ours = flags.filter((flag): flag is [string, string] => flag[1] !== undefined);
  return componentArguments(Object.fromEntries(ours), input.extra);
}

/** The port that `--kubelet-arg` gives the kubelet for one of its flags (`port`, `healthz-port`), or the standard one. */
export function portArgument(extra: readonly string[], flag: string, standard: number): number {
  const port = Number(argumentValue(extra, flag));
  return Number.isInteger(port) && port > 0 ? port : standard;
}

/** The address that `--kubelet-arg` binds the kubelet to; undefined when it listens on all, loopback included. */
export function boundAddress(extra: readonly string[]): string | undefined {
  const address = argumentValue(extra, "address");
  return address === undefined || ["", "0.0.0.0", "::"].includes(address) ? undefined : address;
}

function join(list: readonly string[]): string | undefined {
  return list.length === 0 ? undefined : list.join(",");
}

import type { ServerConfig } from "@keelson/protocol/supervisor";
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
  /** `--kubelet-arg`: `name=value`, or `name` alone for true. Replaces what we would say. */
  extra: readonly string[];
}

/** The flags K3s gives its kubelet, for an external runtime and a current kubelet, in alphabetical order. */
export function kubeletArguments(input: KubeletInput): string[] {
  const { layout, config, nodeIps } = input;
  const dns = config.ClusterDNSs?.length ? config.ClusterDNSs.join(",") : config.ClusterDNS;
  const taints = input.taints.map(({ key, value = "", effect }) => `${key}=${value}:${effect}`);
  const flags = new Map<string, string | undefined>([
    ["address", "0.0.0.0"],
    ["anonymous-auth", "false"],
    ["authentication-token-webhook", "true"],
    ["authorization-mode", "Webhook"],
    ["client-ca-file", layout.clientCa],
    ["cloud-provider", config.DisableCCM ? undefined : "external"],
    ["cluster-dns", dns === "" ? undefined : dns],
    ["cluster-domain", config.ClusterDomain],
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
  ]);
  for (const argument of input.extra) {
    const equals = argument.indexOf("=");
    if (equals < 0) flags.set(argument, "true");
    else flags.set(argument.slice(0, equals), argument.slice(equals + 1));
  }
  return [...flags]
    .filter((flag): flag is [string, string] => flag[1] !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `--${name}=${value}`);
}

/** The port that `--kubelet-arg` gives the kubelet for one of its flags (`port`, `healthz-port`), or the standard one. */
export function portArgument(extra: readonly string[], flag: string, standard: number): number {
  const prefix = `${flag}=`;
  const port = Number(extra.findLast((argument) => argument.startsWith(prefix))?.slice(prefix.length));
  return Number.isInteger(port) && port > 0 ? port : standard;
}

function join(list: readonly string[]): string | undefined {
  return list.length === 0 ? undefined : list.join(",");
}

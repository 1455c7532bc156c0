import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import type { Clock, Logger } from "@keelson/service";
import { canonicalAddress } from "./address.ts";
import { type AddressTable, defaultKubeletPort, type EgressMode, type RoutedNode } from "./route.ts";

interface Node extends KubeObject {
  status?: {
    addresses?: { type: string; address: string }[];
    daemonEndpoints?: { kubeletEndpoint?: { Port?: number } };
  };
}

interface Pod extends KubeObject {
  spec?: { nodeName?: string; hostNetwork?: boolean };
  status?: { phase?: string; podIPs?: { ip: string }[]; podIP?: string };
}

const egressLabel = "egress.k3s.io/cluster";

/** The address table, kept up to date from the Kubernetes API: nodes always, pods where their traffic is tunnelled. */
export class NodeTable implements AddressTable {
  readonly #nodes: Informer<Node>;
  readonly #pods: Informer<Pod> | undefined;
  readonly #nodesByName = new Map<string, RoutedNode>();
  readonly #nodesByIp = new Map<string, RoutedNode>();
  readonly #podNodes = new Map<string, { key: string; node: string }>();

  constructor(client: KubeClient, mode: EgressMode, deps: { log: Logger; clock: Clock }) {
    this.#nodes = createInformer<Node>(client, resources.nodes, deps);
    this.#nodes.onChange(() => this.#rebuildNodes());
    if (mode === "pod" || mode === "cluster") {
      this.#pods = createInformer<Pod>(client, resources.pods, deps);
      this.#pods.onChange(({ key, object, previous }) => {
        for (const ip of podIps(previous)) if (this.#podNodes.get(ip)?.key === key) this.#podNodes.delete(ip);
        const node = object?.spec?.nodeName;
        if (node !== undefined) for (const ip of podIps(object)) this.#podNodes.set(ip, { key, node });
      });
    }
  }

  start(): void {
    this.#nodes.start();
    this.#pods?.start();
  }

  stop(): void {
    this.#nodes.stop();
    this.#pods?.stop();
  }

  nodeByName(name: string): RoutedNode | undefined {
    return this.#nodesByName.get(name.toLowerCase());
  }

  nodeByIp(ip: string): RoutedNode | undefined {
    return this.#nodesByIp.get(ip);
  }

  nodeOfPodIp(ip: string): RoutedNode | undefined {
    const entry = this.#podNodes.get(ip);
    return entry === undefined ? undefined : this.#nodesByName.get(entry.node);
  }

  #rebuildNodes(): void {
    this.#nodesByName.clear();
    this.#nodesByIp.clear();
    for (const { metadata, status } of this.#nodes.list()) {
      const ips = (status?.addresses ?? []).filter(({ type }) => type === "InternalIP" || type === "ExternalIP");
      const node: RoutedNode = {
        name: metadata.name,
        kubeletPort: status?.daemonEndpoints?.kubeletEndpoint?.Port || defaultKubeletPort,
        egress: metadata.labels?.[egressLabel] === "true",
        address: ips[0]?.address,
      };
      this.#nodesByName.set(node.name, node);
      for (const { address } of ips) this.#nodesByIp.set(canonicalAddress(address), node);
    }
  }
}

/**
 * The addresses that are a pod's own. A pod in the host's network has the node's; one that has finished still shows the
 * address it had, which may be another pod's by now.
 */
function podIps(pod: Pod | undefined): string[] {
  const { phase, podIPs, podIP } = pod?.status ?? {};
  if (pod?.spec?.hostNetwork || phase === "Succeeded" || phase === "Failed") return [];
  const ips = podIPs?.map(({ ip }) => ip) ?? (podIP === undefined ? [] : [podIP]);
  return ips.map(canonicalAddress);
}

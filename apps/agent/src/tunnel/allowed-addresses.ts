import { BlockList, isIP } from "node:net";
import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import type { Clock, Logger } from "@keelson/service";
import type { AllowedTargets } from "./authorizer.ts";

interface Node extends KubeObject {
  status?: { addresses?: { type: string; address: string }[] };
}

interface Pod extends KubeObject {
  spec?: { hostNetwork?: boolean; containers?: { ports?: { containerPort: number; protocol?: string }[] }[] };
  status?: { podIPs?: { ip: string }[]; podIP?: string };
}

/** Mode `cluster`: every port of every node and of the pods' address ranges. */
export class ClusterAddresses implements AllowedTargets {
  readonly #ranges = new BlockList();
  readonly #nodes: Informer<Node>;

  constructor(client: KubeClient, clusterCidrs: readonly string[], deps: { log: Logger; clock: Clock }) {
    for (const cidr of clusterCidrs) {
      const [address = "", bits = ""] = cidr.split("/");
      this.#ranges.addSubnet(address, Number(bits), isIP(address) === 6 ? "ipv6" : "ipv4");
    }
    this.#nodes = createInformer<Node>(client, resources.nodes, deps);
  }

  start(): void {
    this.#nodes.start();
  }

  stop(): void {
    this.#nodes.stop();
  }

  allows(ip: string): boolean {
    if (this.#ranges.check(ip, isIP(ip) === 6 ? "ipv6" : "ipv4")) return true;
    return this.#nodes.list().some(({ status }) => (status?.addresses ?? []).some(({ address }) => address === ip));
  }
}

/** Mode `pod`: the pods of this node, and on the node's own addresses what its host-network pods declare. */
export class PodAddresses implements AllowedTargets {
  readonly #nodeIps: readonly string[];
  readonly #pods: Informer<Pod>;

  constructor(client: KubeClient, nodeName: string, nodeIps: readonly string[], deps: { log: Logger; clock: Clock }) {
    this.#nodeIps = nodeIps;
    this.#pods = createInformer<Pod>(client, resources.pods, { ...deps, fieldSelector: `spec.nodeName=${nodeName}` });
  }

  start(): void {
    this.#pods.start();
  }

  stop(): void {
    this.#pods.stop();
  }

  allows(ip: string, port: number): boolean {
    const onNode = this.#nodeIps.includes(ip);
    // Asked anew each time: a port stays open as long as any pod declares it.
    return this.#pods.list().some(({ spec, status }) => {
      if (spec?.hostNetwork) return onNode && declares(spec, port);
      return status?.podIP === ip || (status?.podIPs ?? []).some((entry) => entry.ip === ip);
    });
  }
}

function declares(spec: NonNullable<Pod["spec"]>, port: number): boolean {
  return (spec.containers ?? []).some(({ ports }) =>
    (ports ?? []).some(({ containerPort, protocol = "TCP" }) => containerPort === port && protocol === "TCP"),
  );
}

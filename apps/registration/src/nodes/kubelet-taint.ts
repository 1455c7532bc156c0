import { isKeptByAgent, noKubeletTaint } from "@keelson/protocol/supervisor";
import { errorMessage, type Logger } from "@keelson/service";
import type { ClusterApi, NodeObject } from "../cluster/cluster-api.ts";

/**
 * Keeps pods off Nodes that have no kubelet, and lets them in when one comes. A node may give itself a taint only when it
 * registers, and never take one away (NodeRestriction): that is for those who run the cluster.
 */
export class KubeletTaint {
  readonly #api: ClusterApi;
  readonly #log: Logger;
  #unsubscribe: (() => void) | undefined;

  constructor(api: ClusterApi, log: Logger) {
    this.#api = api;
    this.#log = log;
  }

  start(): void {
    this.#unsubscribe = this.#api.onNodeChange(({ node }) => {
      if (node !== undefined) void this.#correct(node);
    });
  }

  stop(): void {
    this.#unsubscribe?.();
  }

  async #correct(node: NodeObject): Promise<void> {
    const keptByAgent = isKeptByAgent(node.status?.nodeInfo?.kubeletVersion);
    const taints = node.spec?.taints ?? [];
    const others = taints.filter(({ key }) => key !== noKubeletTaint.key);
    if (keptByAgent === undefined || keptByAgent === others.length < taints.length) return;
    try {
      // Somebody else who changed the Node meanwhile, another server with the same in mind perhaps, calls us again.
      await this.#api.setNodeTaints(node.metadata, keptByAgent ? [...others, noKubeletTaint] : others);
    } catch (error) {
      this.#log.warn(
        { node: node.metadata.name, reason: errorMessage(error) },
        `could not ${keptByAgent ? "set" : "remove"} the taint of a node without kubelet; trying again when it reports itself`,
      );
    }
  }
}

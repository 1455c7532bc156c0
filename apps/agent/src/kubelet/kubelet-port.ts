import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import type { Clock, Logger, Service } from "@keelson/service";

interface Node extends KubeObject {
  status?: {
    conditions?: { type: string; status: string; lastHeartbeatTime?: string }[];
    daemonEndpoints?: { kubeletEndpoint?: { Port?: number } };
  };
}

/**
 * The port of the node's kubelet: what its arguments say, until the kubelet itself reports another on the Node (a
 * configuration file of its own may name it). A report from before our start is of a kubelet that is gone.
 */
export class KubeletPort implements Service {
  readonly #fromArguments: number;
  readonly #nodes: Informer<Node>;
  readonly #sinceMs: number;

  constructor(client: KubeClient, nodeName: string, fromArguments: number, deps: { log: Logger; clock: Clock }) {
    this.#fromArguments = fromArguments;
    this.#nodes = createInformer<Node>(client, resources.nodes, {
      ...deps,
      fieldSelector: `metadata.name=${nodeName}`,
    });
    // Heartbeats are written in whole seconds.
    this.#sinceMs = Math.floor(deps.clock.now() / 1_000) * 1_000;
  }

  get current(): number {
    const status = this.#nodes.list()[0]?.status;
    const ready = status?.conditions?.find(({ type }) => type === "Ready");
    const isFresh = ready?.status === "True" && Date.parse(ready.lastHeartbeatTime ?? "") >= this.#sinceMs;
    return (isFresh ? status?.daemonEndpoints?.kubeletEndpoint?.Port : undefined) ?? this.#fromArguments;
  }

  async start(): Promise<void> {
    this.#nodes.start();
  }

  async stop(): Promise<void> {
    this.#nodes.stop();
  }
}

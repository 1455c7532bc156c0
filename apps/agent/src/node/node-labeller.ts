import { isNotFound, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { Backoff, type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { type NodeFacts, nodeAnnotations, noKubeletTaint } from "./node-object.ts";

interface TaintedNode extends KubeObject {
  spec?: { taints?: { key: string }[] };
}

/** The label by which servers know that an agent passes on more than kubelet traffic. */
export const egressLabel = "egress.k3s.io/cluster";

/**
 * Sets the user's labels and K3s's annotations on the Node that a kubelet registers, once it is there: a kubelet leaves a Node
 * alone that it finds. One that the agent kept itself before there was a kubelet loses the taint that said so.
 */
export class NodeLabeller {
  readonly #client: KubeClient;
  readonly #facts: NodeFacts;
  readonly #egress: boolean;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #backoff = new Backoff({ initialMs: 500, maxMs: 10_000 });
  #timer: Timer | undefined;
  #stopped = false;

  constructor(client: KubeClient, facts: NodeFacts, egress: boolean, deps: { clock: Clock; log: Logger }) {
    this.#client = client;
    this.#facts = facts;
    this.#egress = egress;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  /** Resolves when the labels are set. */
  start(): Promise<void> {
    return new Promise((resolve) => {
      const turn = async (): Promise<void> => {
        try {
          await this.#label();
          resolve();
        } catch (error) {
          if (!isNotFound(error)) this.#log.warn({ error: errorMessage(error) }, "node labels could not be set yet");
          if (!this.#stopped) this.#timer = this.#clock.setTimeout(() => void turn(), this.#backoff.next());
        }
      };
      void turn();
    });
  }

  async #label(): Promise<void> {
    const { name } = this.#facts;
    // A merge patch removes what is null: a node that left mode pod or cluster must not keep the label.
    const labels = { ...this.#facts.labels, [egressLabel]: this.#egress ? "true" : null };
    const metadata = { labels, annotations: nodeAnnotations(this.#facts) };
    const node = await this.#client.patch<TaintedNode>(resources.nodes, name, { metadata });
    const taints = node.spec?.taints ?? [];
    const others = taints.filter(({ key }) => key !== noKubeletTaint.key);
    if (others.length === taints.length) return;
    // A list is replaced as a whole: only as it was read, or the next turn looks again.
    const { resourceVersion } = node.metadata;
    await this.#client.patch(resources.nodes, name, { metadata: { resourceVersion }, spec: { taints: others } });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}

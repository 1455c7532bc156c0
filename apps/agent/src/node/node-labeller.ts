import { isNotFound, type KubeClient, resources } from "@keelson/kube-client";
import { Backoff, type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { type NodeFacts, nodeAnnotations } from "./node-object.ts";

/** The label by which servers know that an agent passes on more than kubelet traffic. */
export const egressLabel = "egress.k3s.io/cluster";

/**
 * Sets the user's labels and K3s's annotations on the Node that a kubelet registers, once it is there: a kubelet leaves a Node
 * alone that it finds.
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
    await this.#client.patch(resources.nodes, name, { metadata });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }
}

import {
  createInformer,
  type Informer,
  isConflict,
  isNotFound,
  type KubeClient,
  type KubeObject,
  resources,
} from "@keelson/kube-client";
import { type Dependencies, errorMessage, type Service, type Timer, withDefaults } from "@keelson/service";
import type { EmbeddedEtcd } from "./embedded-etcd.ts";
import { evictedPatch, finalizerPatch, ownNodePatch, planNode } from "./node-marks.ts";

const roundMs = 5_000;

export interface NodeMembersConfig {
  nodeName: string;
  address: string;
}

/**
 * Ties etcd members to Node objects: every server writes its member's name on its own Node, and the server that leads
 * etcd removes the member of a Node that is deleted (`kubectl delete node`) or asked to leave.
 */
export class NodeMembers implements Service {
  readonly #config: NodeMembersConfig;
  readonly #etcd: EmbeddedEtcd;
  readonly #kube: KubeClient;
  readonly #deps: Dependencies;
  readonly #nodes: Informer<KubeObject>;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(config: NodeMembersConfig, etcd: EmbeddedEtcd, kube: KubeClient, deps: Partial<Dependencies> = {}) {
    this.#config = config;
    this.#etcd = etcd;
    this.#kube = kube;
    this.#deps = withDefaults(deps);
    const { log, clock } = this.#deps;
    this.#nodes = createInformer(kube, resources.nodes, { log, clock });
    this.#nodes.onChange(() => this.#trigger());
  }

  async start(): Promise<void> {
    this.#nodes.start();
    // What failed, and what waits for a change of leader, is looked at again.
    this.#timer = this.#deps.clock.setInterval(() => this.#trigger(), roundMs);
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#nodes.stop();
    await this.#running;
  }

  #trigger(): void {
    if (this.#running !== undefined) {
      this.#again = true;
      return;
    }
    this.#running = this.#round().finally(() => {
      this.#running = undefined;
      if (!this.#again) return;
      this.#again = false;
      this.#trigger();
    });
  }

  async #round(): Promise<void> {
    const { log } = this.#deps;
    try {
      await this.#nodes.synced;
      await this.#markOwnNode();
      const { leaderId, memberId } = await this.#etcd.cluster.status();
      if (leaderId !== memberId) return;
    } catch (error) {
      log.debug({ reason: errorMessage(error) }, "cannot compare nodes with etcd members");
      return;
    }
    for (const node of this.#nodes.list()) {
      try {
        await this.#tend(node);
      } catch (error) {
        // The informer brings the newer object, and with it the next round.
        if (isConflict(error) || isNotFound(error)) continue;
        log.warn(
          { err: error, node: node.metadata.name },
          "cannot bring the etcd member of a node in line, trying again",
        );
      }
    }
  }

  async #markOwnNode(): Promise<void> {
    const node = this.#nodes.get(this.#config.nodeName);
    if (node === undefined || node.metadata.deletionTimestamp !== undefined) return;
    const member = { name: this.#etcd.memberName, address: this.#config.address };
    const patch = ownNodePatch(node, member);
    if (patch !== undefined) await this.#patch(node, patch);
  }

  async #tend(node: KubeObject): Promise<void> {
    const action = planNode(node);
    switch (action.kind) {
      case "none":
        return;
      case "hold":
        return this.#patch(node, finalizerPatch(node, true));
      case "release":
        if (action.member !== undefined) await this.#etcd.removeMember(action.member);
        return this.#patch(node, finalizerPatch(node, false));
      case "evict":
        await this.#etcd.removeMember(action.member);
        return this.#patch(node, evictedPatch(action.member));
    }
  }

  async #patch(node: KubeObject, patch: object): Promise<void> {
    await this.#kube.patch(resources.nodes, node.metadata.name, patch, { type: "merge" });
  }
}

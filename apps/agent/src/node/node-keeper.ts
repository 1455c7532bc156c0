import {
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  type KubeObject,
  resources,
} from "@keelson/kube-client";
import { Backoff, type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import { hostFacts, type NodeFacts, type NodeObject, nodeConditions, nodeObject } from "./node-object.ts";

interface Lease extends KubeObject {
  spec: { holderIdentity: string; leaseDurationSeconds: number; renewTime: string };
}

export type NodeState =
  | { state: "registering"; reason: string | undefined }
  | { state: "ready" }
  | { state: "failing"; reason: string }
  /** Somebody deleted the Node: it stays away until the agent is started again, so that its name can be released. */
  | { state: "deleted" };

const leaseNamespace = "kube-node-lease";
const leaseDurationSeconds = 40;
/** A kubelet's periods: the Lease every 10 s, the Node's status every 5 min. */
const leaseIntervalMs = 10_000;
const statusEveryRenewals = 30;

/** Keeps this host's Node and its Lease while there is no kubelet to do it. */
export class NodeKeeper {
  readonly #client: KubeClient;
  readonly #facts: NodeFacts;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #backoff = new Backoff({ initialMs: 200, maxMs: 5_000 });
  readonly #readySince: string;
  #state: NodeState = { state: "registering", reason: undefined };
  #sinceMs: number;
  #timer: Timer | undefined;
  #stopped = false;
  #lease: Lease | undefined;
  #nodeUid: string | undefined;
  #renewals = 0;
  #onReady: () => void = () => {};

  constructor(client: KubeClient, facts: NodeFacts, deps: { clock: Clock; log: Logger }) {
    this.#client = client;
    this.#facts = facts;
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#readySince = this.#now();
    this.#sinceMs = deps.clock.monotonic();
  }

  /** Where it stands, and since when by the monotonic clock. */
  get status(): NodeState & { sinceMs: number } {
    return { ...this.#state, sinceMs: this.#sinceMs };
  }

  /** Starts registering in the background; the promise resolves when the Node is there. */
  start(): Promise<void> {
    const ready = new Promise<void>((resolve) => {
      this.#onReady = resolve;
    });
    void this.#turn();
    return ready;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** One round: register or renew, then plan the next. Never rejects. */
  async #turn(): Promise<void> {
    let delayMs = leaseIntervalMs;
    try {
      if (this.#nodeUid === undefined) await this.#register();
      await this.#renew();
      this.#backoff.reset();
      this.#enter({ state: "ready" });
      this.#onReady();
    } catch (error) {
      const reason = errorMessage(error);
      const registering = this.#nodeUid === undefined;
      this.#enter(registering ? { state: "registering", reason } : { state: "failing", reason });
      delayMs = this.#backoff.next();
    }
    if (this.#stopped || this.#state.state === "deleted") return;
    this.#timer = this.#clock.setTimeout(() => void this.#turn(), delayMs);
  }

  async #register(): Promise<void> {
    const wanted = nodeObject(this.#facts, await hostFacts(), this.#now());
    let node: NodeObject;
    try {
      node = await this.#client.create<NodeObject>(resources.nodes, wanted);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const { metadata, status } = wanted;
      // Ours from an earlier start, or a kubelet's: what others set on it stays. Taints a node gives itself once only.
      node = await this.#client.patch<NodeObject>(resources.nodes, metadata.name, {
        metadata: { labels: metadata.labels, annotations: metadata.annotations },
      });
      node = await this.#client.patch<NodeObject>(
        resources.nodes,
        metadata.name,
        { status },
        { subresource: "status" },
      );
    }
    this.#nodeUid = node.metadata.uid ?? "";
  }

  async #renew(): Promise<void> {
    const spec = {
      holderIdentity: this.#facts.name,
      leaseDurationSeconds,
      renewTime: this.#now().replace("Z", "000Z"),
    };
    if (this.#lease === undefined) {
      this.#lease = await this.#createLease(spec);
    } else {
      try {
        this.#lease = await this.#client.update<Lease>(resources.leases, { ...this.#lease, spec });
      } catch (error) {
        if (!isNotFound(error) && !isConflict(error)) throw error;
        this.#lease = undefined;
        if (isNotFound(error) && (await this.#nodeIsGone())) return;
        this.#lease = await this.#createLease(spec);
      }
    }
    if (++this.#renewals % statusEveryRenewals === 0) await this.#refreshStatus();
  }

  async #createLease(spec: Lease["spec"]): Promise<Lease> {
    const { name } = this.#facts;
    const owner = { apiVersion: "v1", kind: "Node", name, uid: this.#nodeUid ?? "" };
    const lease: Lease = {
      apiVersion: "coordination.k8s.io/v1",
      kind: "Lease",
      metadata: { name, namespace: leaseNamespace, ownerReferences: [owner] },
      spec,
    };
    try {
      return await this.#client.create<Lease>(resources.leases, lease);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const existing = await this.#client.get<Lease>(resources.leases, name, leaseNamespace);
      return this.#client.update<Lease>(resources.leases, { ...existing, spec });
    }
  }

  async #refreshStatus(): Promise<void> {
    try {
      const conditions = nodeConditions(this.#now(), this.#readySince);
      await this.#client.patch(
        resources.nodes,
        this.#facts.name,
        { status: { conditions } },
        { subresource: "status" },
      );
    } catch (error) {
      if (!isNotFound(error)) throw error;
      await this.#nodeIsGone();
    }
  }

  async #nodeIsGone(): Promise<boolean> {
    try {
      await this.#client.get(resources.nodes, this.#facts.name);
      return false;
    } catch (error) {
      if (!isNotFound(error)) throw error;
      this.#enter({ state: "deleted" });
      return true;
    }
  }

  #enter(state: NodeState): void {
    const before = this.#state;
    if (before.state === "deleted") return;
    this.#state = state;
    if (state.state !== before.state) this.#sinceMs = this.#clock.monotonic();
    if (state.state === before.state && !("reason" in state && "reason" in before && state.reason !== before.reason))
      return;
    const node = this.#facts.name;
    if (state.state === "ready") this.#log.info({ node }, "node is registered and ready");
    else if (state.state === "deleted") {
      this.#log.warn({ node }, "the node was deleted; start the agent again to register it anew");
    } else if (state.reason !== undefined) this.#log.warn({ node, reason: state.reason }, "node cannot be kept");
  }

  #now(): string {
    return new Date(this.#clock.now()).toISOString();
  }
}

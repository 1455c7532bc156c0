import { randomUUID } from "node:crypto";
import type { SecretObject } from "@keelson/secret-format";
import type { Clock } from "@keelson/service";
import type { ClusterApi, NodeEvent, NodeObject, RoleObject, Taint } from "../../src/cluster/cluster-api.ts";

/** The Kubernetes API as registration sees it, in memory, with switches for what can go wrong. */
export class FakeCluster implements ClusterApi {
  ready = true;
  /** Set to make every call fail as if the API were away. */
  failure: Error | undefined;
  /** What reading a Secret of that name ends with. */
  readonly failures = new Map<string, Error>();
  readonly secrets = new Map<string, SecretObject>();
  readonly nodes = new Map<string, NodeObject>();
  readonly events: NodeEvent[] = [];
  readonly roles = new Map<string, RoleObject>();
  servers: string[] = [];
  #revision = 0;
  readonly #listeners = new Set<(change: { name: string; node: NodeObject | undefined }) => void>();
  readonly #clock: Pick<Clock, "now">;

  constructor(clock: Pick<Clock, "now"> = { now: () => Date.now() }) {
    this.#clock = clock;
  }

  knownSecret(name: string): SecretObject | undefined {
    return this.secrets.get(name);
  }

  async getSecret(name: string): Promise<SecretObject | undefined> {
    this.#mayFail(name);
    return this.secrets.get(name);
  }

  async createSecret(secret: SecretObject): Promise<"created" | "exists"> {
    this.#mayFail();
    const { name } = secret.metadata;
    if (this.secrets.has(name)) return "exists";
    const creationTimestamp = new Date(this.#clock.now()).toISOString();
    const metadata = {
      ...secret.metadata,
      uid: randomUUID(),
      creationTimestamp,
      resourceVersion: String(++this.#revision),
    };
    this.secrets.set(name, { ...secret, metadata });
    return "created";
  }

  async replaceSecret(secret: SecretObject): Promise<boolean> {
    this.#mayFail();
    const { name, resourceVersion } = secret.metadata;
    const current = this.secrets.get(name);
    if (current === undefined || current.immutable || current.metadata.resourceVersion !== resourceVersion)
      return false;
    this.secrets.set(name, { ...secret, metadata: { ...secret.metadata, resourceVersion: String(++this.#revision) } });
    return true;
  }

  async deleteSecret(name: string, uid?: string): Promise<boolean> {
    this.#mayFail();
    if (uid !== undefined && this.secrets.get(name)?.metadata.uid !== uid) return false;
    return this.secrets.delete(name);
  }

  async setSecretOwner(name: string, node: NodeObject["metadata"]): Promise<void> {
    this.#mayFail();
    const secret = this.secrets.get(name);
    if (secret === undefined) return;
    secret.metadata.ownerReferences = [{ apiVersion: "v1", kind: "Node", name: node.name, uid: node.uid }];
  }

  async listSecrets(): Promise<SecretObject[]> {
    this.#mayFail();
    return [...this.secrets.values()];
  }

  async getNode(name: string): Promise<NodeObject | undefined> {
    this.#mayFail();
    return this.nodes.get(name);
  }

  async listNodes(): Promise<NodeObject[]> {
    this.#mayFail();
    return [...this.nodes.values()];
  }

  async setNodeTaints({ name, resourceVersion }: NodeObject["metadata"], taints: readonly Taint[]): Promise<void> {
    this.#mayFail();
    const node = this.nodes.get(name);
    if (node === undefined || node.metadata.resourceVersion !== resourceVersion) return;
    this.setNode({ ...node, spec: { taints: [...taints] } });
  }

  async establishRole(role: RoleObject): Promise<void> {
    this.#mayFail();
    this.roles.set(`${role.kind}/${role.metadata.name}`, role);
  }

  async recordEvent(event: NodeEvent): Promise<void> {
    this.#mayFail();
    this.events.push(event);
  }

  async apiServers(): Promise<string[]> {
    return this.servers;
  }

  onNodeChange(listener: (change: { name: string; node: NodeObject | undefined }) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  addNode(name: string, extra: Partial<NodeObject["metadata"]> & { addresses?: string[] } = {}): NodeObject {
    const { addresses = [], ...metadata } = extra;
    const node: NodeObject = {
      metadata: { name, uid: randomUUID(), ...metadata },
      status: { addresses: addresses.map((address) => ({ type: "InternalIP", address })) },
    };
    return this.setNode(node);
  }

  /** The Node as somebody has just written it. */
  setNode(written: NodeObject): NodeObject {
    const { name } = written.metadata;
    const node = { ...written, metadata: { ...written.metadata, resourceVersion: String(++this.#revision) } };
    this.nodes.set(name, node);
    for (const listener of this.#listeners) listener({ name, node });
    return node;
  }

  removeNode(name: string): void {
    this.nodes.delete(name);
    for (const listener of this.#listeners) listener({ name, node: undefined });
  }

  #mayFail(secret = ""): void {
    const failure = this.failure ?? this.failures.get(secret);
    if (failure !== undefined) throw failure;
  }
}

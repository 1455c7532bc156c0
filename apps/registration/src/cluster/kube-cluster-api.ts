import {
  createInformer,
  createKubeClient,
  type Informer,
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  type KubeClientOptions,
  type KubeObject,
  type KubeTarget,
  resources,
} from "@keelson/kube-client";
import { nodePasswordNamespace, type SecretObject } from "@keelson/secret-format";
import type { Clock, Dependencies, Service } from "@keelson/service";
import type { ClusterApi, NodeEvent, NodeObject, RoleObject, Taint } from "./cluster-api.ts";

interface EndpointSliceObject extends KubeObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean } }[] | null;
  ports?: { port?: number }[] | null;
}

/** How long a start waits for the watched copies; after it requests are answered with 503 until they are there. */
const firstSyncMs = 2_000;

/** {@link ClusterApi} over the Kubernetes API: watched copies of Nodes, Secrets and the servers' endpoints. */
export class KubeClusterApi implements ClusterApi, Service {
  readonly #client: KubeClient;
  readonly #clock: Clock;
  readonly #nodes: Informer<NodeObject & KubeObject>;
  readonly #secrets: Informer<SecretObject & KubeObject>;
  readonly #slices: Informer<EndpointSliceObject>;

  constructor(options: KubeClientOptions, { log, clock }: Pick<Dependencies, "log" | "clock">) {
    this.#clock = clock;
    this.#client = createKubeClient({ ...options, userAgent: "keelson-registration" });
    this.#nodes = createInformer(this.#client, resources.nodes, { log, clock });
    this.#secrets = createInformer(this.#client, resources.secrets, { namespace: nodePasswordNamespace, log, clock });
    this.#slices = createInformer(this.#client, resources.endpointSlices, {
      namespace: "default",
      labelSelector: "kubernetes.io/service-name=kubernetes",
      log,
      clock,
    });
  }

  /** Calls the API with other credentials from now on. */
  retarget(target: KubeTarget): void {
    this.#client.retarget(target);
  }

  get ready(): boolean {
    return this.#nodes.hasSynced && this.#secrets.hasSynced;
  }

  async start(): Promise<void> {
    const informers = [this.#nodes, this.#secrets, this.#slices];
    for (const informer of informers) informer.start();
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, firstSyncMs);
    });
    await Promise.race([Promise.all(informers.map(({ synced }) => synced)), timeout]);
    clearTimeout(timer);
  }

  async stop(): Promise<void> {
    for (const informer of [this.#nodes, this.#secrets, this.#slices]) informer.stop();
    this.#client.close();
  }

  knownSecret(name: string): SecretObject | undefined {
    return this.#secrets.get(name, nodePasswordNamespace);
  }

  async getSecret(name: string): Promise<SecretObject | undefined> {
    const known = this.knownSecret(name);
    return known ?? (await orUndefined(this.#client.get(resources.secrets, name, nodePasswordNamespace)));
  }

  async createSecret(secret: SecretObject): Promise<"created" | "exists"> {
    try {
      await this.#client.create(resources.secrets, secret);
      return "created";
    } catch (error) {
      if (isAlreadyExists(error)) return "exists";
      throw error;
    }
  }

  async replaceSecret(secret: SecretObject): Promise<boolean> {
    try {
      await this.#client.update(resources.secrets, secret);
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return false;
      throw error;
    }
  }

  async deleteSecret(name: string, uid?: string): Promise<boolean> {
    try {
      await this.#client.delete(resources.secrets, name, {
        namespace: nodePasswordNamespace,
        ...(uid === undefined ? {} : { preconditions: { uid } }),
      });
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return false;
      throw error;
    }
  }

  async setSecretOwner(name: string, node: NodeObject["metadata"]): Promise<void> {
    const ownerReferences = [{ apiVersion: "v1", kind: "Node", name: node.name, uid: node.uid }];
    const options = { namespace: nodePasswordNamespace };
    await orUndefined(this.#client.patch(resources.secrets, name, { metadata: { ownerReferences } }, options));
  }

  async listSecrets(): Promise<readonly SecretObject[]> {
    if (this.#secrets.hasSynced) return this.#secrets.list();
    const { items } = await this.#client.list<SecretObject & KubeObject>(resources.secrets, {
      namespace: nodePasswordNamespace,
    });
    return items;
  }

  async getNode(name: string): Promise<NodeObject | undefined> {
    return (
      this.#nodes.get(name) ?? (await orUndefined(this.#client.get<NodeObject & KubeObject>(resources.nodes, name)))
    );
  }

  async listNodes(): Promise<readonly NodeObject[]> {
    if (this.#nodes.hasSynced) return this.#nodes.list();
    return (await this.#client.list<NodeObject & KubeObject>(resources.nodes)).items;
  }

  async setNodeTaints({ name, resourceVersion }: NodeObject["metadata"], taints: readonly Taint[]): Promise<void> {
    try {
      await this.#client.patch(resources.nodes, name, { metadata: { resourceVersion }, spec: { taints } });
    } catch (error) {
      if (!isNotFound(error) && !isConflict(error)) throw error;
    }
  }

  async establishRole(role: RoleObject): Promise<void> {
    const ref = role.kind === "ClusterRole" ? resources.clusterRoles : resources.clusterRoleBindings;
    try {
      await this.#client.create(ref, role);
    } catch (error) {
      if (!isAlreadyExists(error)) throw error;
      const { rules, subjects } = role;
      await this.#client.patch(ref, role.metadata.name, rules === undefined ? { subjects } : { rules });
    }
  }

  async recordEvent({ node, type, reason, message }: NodeEvent): Promise<void> {
    const nowMs = this.#clock.now();
    const time = new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z");
    const event = {
      apiVersion: "v1",
      kind: "Event",
      metadata: { name: `${node.name}.${nowMs.toString(16)}`, namespace: "default" },
      involvedObject: { apiVersion: "v1", kind: "Node", name: node.name, uid: node.uid },
      type,
      reason,
      message,
      firstTimestamp: time,
      lastTimestamp: time,
      count: 1,
      source: { component: "keelson-registration" },
    };
    await this.#client.create(resources.events, event);
  }

  async apiServers(): Promise<readonly string[]> {
    const addresses = this.#slices.list().flatMap(({ endpoints, ports }) => {
      const port = ports?.[0]?.port ?? 443;
      return (endpoints ?? [])
        .filter(({ conditions }) => conditions?.ready !== false)
        .flatMap(({ addresses }) =>
          addresses.map((address) => (address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`)),
        );
    });
    return [...new Set(addresses)];
  }

  onNodeChange(listener: (change: { name: string; node: NodeObject | undefined }) => void): () => void {
    return this.#nodes.onChange(({ key, object }) => listener({ name: key, node: object }));
  }
}

async function orUndefined<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (error) {
    if (isNotFound(error)) return undefined;
    throw error;
  }
}

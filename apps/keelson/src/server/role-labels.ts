import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { type Dependencies, errorMessage, type Service } from "@keelson/service";

const prefix = "node-role.kubernetes.io/";

/**
 * Keeps the labels on a server's own Node that say what it is; a node may not give itself any of these. Source: k3s's labels
 * of servers.
 */
export class RoleLabels implements Service {
  readonly #client: KubeClient;
  readonly #labels: Readonly<Record<string, string>>;
  readonly #node: Informer<KubeObject>;
  readonly #log: Dependencies["log"];

  constructor(client: KubeClient, nodeName: string, roles: readonly string[], deps: Dependencies) {
    this.#client = client;
    this.#labels = Object.fromEntries(roles.map((role) => [`${prefix}${role}`, "true"]));
    this.#log = deps.log;
    this.#node = createInformer(client, resources.nodes, { ...deps, fieldSelector: `metadata.name=${nodeName}` });
    this.#node.onChange(({ object }) => {
      if (object !== undefined) void this.#label(object);
    });
  }

  async start(): Promise<void> {
    this.#node.start();
  }

  async stop(): Promise<void> {
    this.#node.stop();
  }

  async #label({ metadata }: KubeObject): Promise<void> {
    const has = metadata.labels ?? {};
    if (Object.entries(this.#labels).every(([label, value]) => has[label] === value)) return;
    try {
      await this.#client.patch(resources.nodes, metadata.name, { metadata: { labels: this.#labels } });
    } catch (error) {
      // Its next heartbeat brings us back.
      this.#log.warn({ error: errorMessage(error) }, "this server's node could not be labelled with its role yet");
    }
  }
}

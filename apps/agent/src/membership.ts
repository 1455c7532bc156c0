import { createKubeClient, type KubeClient } from "@keelson/kube-client";
import { agentVersion, fromGoCidr } from "@keelson/protocol/supervisor";
import type { Dependencies, Service } from "@keelson/service";
import type { AgentConfig } from "./config.ts";
import type { Joined } from "./join/join.ts";
import { boundAddress, kubeletArguments, portArgument } from "./kubelet/kubelet-arguments.ts";
import { KubeletPort } from "./kubelet/kubelet-port.ts";
import { hostContainerdSocket, NodeRuntime } from "./kubelet/node-runtime.ts";
import type { AgentLayout, LeafName } from "./layout.ts";
import { NodeKeeper } from "./node/node-keeper.ts";
import { egressLabel, NodeLabeller } from "./node/node-labeller.ts";
import type { NodeFacts } from "./node/node-object.ts";
import type { NodeView } from "./status/status.ts";
import { ClusterAddresses, PodAddresses } from "./tunnel/allowed-addresses.ts";
import type { AllowedTargets } from "./tunnel/authorizer.ts";

export const standardKubeletPort = 10_250;
const standardHealthzPort = 10_248;

/** What the joined agent does in the cluster as a node: its Node object, its kubelet, and what may be reached through it. */
export class Membership implements Service {
  readonly controllerClient: KubeClient;
  readonly allowed: AllowedTargets | undefined;
  /** Where the kubelet listens, when it is one address only. */
  readonly kubeletHost: string | undefined;
  readonly #kubeletClient: KubeClient;
  readonly #server: string;
  readonly #addresses: (AllowedTargets & { start(): void; stop(): void }) | undefined;
  readonly #node: NodeKeeper | NodeLabeller;
  readonly #runtime: NodeRuntime | undefined;
  readonly #portArgument: number;
  readonly #reportedPort: KubeletPort | undefined;
  #ready: Promise<void> | undefined;

  constructor(
    input: {
      config: AgentConfig;
      nodeName: string;
      nodeIps: readonly string[];
      joined: Joined;
      layout: AgentLayout;
      /** The load balancer's URL. */
      server: string;
    },
    deps: Dependencies,
  ) {
    const { config, joined, nodeName, nodeIps, layout } = input;
    this.#server = input.server;
    this.#kubeletClient = this.#client(joined, "client-kubelet");
    this.controllerClient = this.#client(joined, "client-k3s-controller");
    const mode = joined.config.EgressSelectorMode;
    const egress = mode === "pod" || mode === "cluster";
    if (mode === "pod") this.#addresses = new PodAddresses(this.controllerClient, nodeName, nodeIps, deps);
    else if (mode === "cluster") {
      const ranges = (joined.config.ClusterIPRanges ?? []).map(fromGoCidr);
      this.#addresses = new ClusterAddresses(this.controllerClient, ranges, deps);
    }
    this.allowed = this.#addresses;
    const { kubelet, nodeLabels: labels = {}, nodeTaints: taints = [] } = config;
    this.#portArgument = portArgument(kubelet?.args ?? [], "port", standardKubeletPort);
    this.kubeletHost = boundAddress(kubelet?.args ?? []);
    const facts: NodeFacts = {
      name: nodeName,
      internalIps: nodeIps,
      externalIps: config.nodeExternalIps ?? [],
      labels: egress ? { ...labels, [egressLabel]: "true" } : labels,
      taints,
      kubeletPort: this.#portArgument,
    };
    if (kubelet === undefined) {
      this.#node = new NodeKeeper(this.#kubeletClient, facts, deps);
    } else {
      this.#reportedPort = new KubeletPort(this.#kubeletClient, nodeName, this.#portArgument, deps);
      this.#node = new NodeLabeller(this.#kubeletClient, facts, egress, deps);
      this.#runtime = new NodeRuntime(
        {
          kubeletPath: kubelet.path,
          runtimeEndpoint: kubelet.runtimeEndpoint,
          hostSocket: hostContainerdSocket,
          healthzPort: portArgument(kubelet.args, "healthz-port", standardHealthzPort),
          layout,
          kubeletArguments: (runtimeEndpoint, minorVersion) =>
            kubeletArguments({
              minorVersion,
              nodeName,
              nodeIps,
              labels,
              taints,
              layout,
              config: joined.config,
              runtimeEndpoint,
              extra: kubelet.args,
            }),
        },
        deps,
      );
    }
  }

  /** Where the kubelet's API is, which servers may reach through the tunnel. */
  get kubeletPort(): number {
    return this.#reportedPort?.current ?? this.#portArgument;
  }

  /** Resolves when the Node is in the cluster. */
  get ready(): Promise<void> {
    return this.#ready ?? Promise.resolve();
  }

  /** Who keeps the Node and how it goes; the moment is of the monotonic clock. */
  get status(): Omit<NodeView, "since"> & { sinceMs: number } {
    if (this.#runtime !== undefined) return { keeper: "kubelet", ...this.#runtime.status };
    const { state, sinceMs, ...rest } = (this.#node as NodeKeeper).status;
    return { keeper: "agent", state, sinceMs, reason: "reason" in rest ? rest.reason : undefined, restarts: undefined };
  }

  /** Begins. A kubelet that does not come up is shown by status; the node's other duties go on. */
  async start(): Promise<void> {
    this.#addresses?.start();
    await this.#reportedPort?.start();
    this.#ready = this.#node.start();
    await this.#runtime?.start();
  }

  async stop(): Promise<void> {
    this.#node.stop();
    this.#addresses?.stop();
    await this.#reportedPort?.stop();
    await this.#runtime?.stop();
    this.#kubeletClient.close();
    this.controllerClient.close();
  }

  /** Certificates were renewed: calls from now on use the new ones. */
  async useCertificates(joined: Joined): Promise<void> {
    this.#kubeletClient.retarget(this.#target(joined, "client-kubelet"));
    this.controllerClient.retarget(this.#target(joined, "client-k3s-controller"));
    await this.#runtime?.restart();
  }

  #client(joined: Joined, leaf: LeafName): KubeClient {
    return createKubeClient({ ...this.#target(joined, leaf), userAgent: `keelson-agent/${agentVersion}` });
  }

  #target(joined: Joined, leaf: LeafName) {
    const { certPem: cert, keyPem: key } = joined.leaves[leaf];
    return { server: this.#server, tls: { ca: joined.serverCaPem, cert, key } };
  }
}

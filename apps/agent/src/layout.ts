import { join } from "node:path";
import { fileKubeconfig } from "@keelson/kube-client";

/** The leaf certificates an agent holds; names are K3s's file names. */
export const leafNames = ["serving-kubelet", "client-kubelet", "client-kube-proxy", "client-k3s-controller"] as const;
export type LeafName = (typeof leafNames)[number];

/** Files below `<dataDir>/agent`, laid out as K3s does. */
export class AgentLayout {
  readonly root: string;

  constructor(dataDir: string) {
    this.root = join(dataDir, "agent");
  }

  get serverCa(): string {
    return join(this.root, "server-ca.crt");
  }

  get clientCa(): string {
    return join(this.root, "client-ca.crt");
  }

  certificate(leaf: LeafName): string {
    return join(this.root, `${leaf}.crt`);
  }

  key(leaf: LeafName): string {
    return join(this.root, `${leaf}.key`);
  }

  get loadBalancerState(): string {
    return join(this.root, "etc", "k3s-agent-load-balancer.json");
  }

  get podManifests(): string {
    return join(this.root, "pod-manifests");
  }

  /** Answers `keelson status` on this host. */
  get statusSocket(): string {
    return join(this.root, "status.sock");
  }

  /** Kubeconfigs and the leaf each one authenticates with. */
  get kubeconfigs(): readonly { path: string; leaf: LeafName }[] {
    return [
      { path: join(this.root, "kubelet.kubeconfig"), leaf: "client-kubelet" },
      { path: join(this.root, "kubeproxy.kubeconfig"), leaf: "client-kube-proxy" },
      { path: join(this.root, "k3scontroller.kubeconfig"), leaf: "client-k3s-controller" },
    ];
  }

  /** A kubeconfig as K3s writes it: cluster `local`, user `user`, context `Default`, everything by file path. */
  kubeconfig(server: string, leaf: LeafName): string {
    return fileKubeconfig({
      server,
      caFile: this.serverCa,
      certFile: this.certificate(leaf),
      keyFile: this.key(leaf),
    });
  }
}

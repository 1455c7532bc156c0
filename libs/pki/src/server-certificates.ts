import type { Purpose } from "./authority.ts";

/** The CAs of a cluster. */
export type AuthorityName = "server" | "client" | "request-header" | "etcd-server" | "etcd-peer";

/** Common-name prefix and file (below `server/tls`, without `.crt`/`.key`) of each CA. */
export const authorityFiles: Readonly<Record<AuthorityName, { prefix: string; file: string }>> = {
  server: { prefix: "k3s-server", file: "server-ca" },
  client: { prefix: "k3s-client", file: "client-ca" },
  "request-header": { prefix: "k3s-request-header", file: "request-header-ca" },
  "etcd-server": { prefix: "etcd-server", file: "etcd/server-ca" },
  "etcd-peer": { prefix: "etcd-peer", file: "etcd/peer-ca" },
};

/** A leaf certificate that a server keeps on disk. */
export interface ServerCertificate {
  /** File below `server/tls`, without `.crt`/`.key`. */
  file: string;
  authority: AuthorityName;
  commonName: string;
  organizations?: readonly string[];
  purposes: readonly Purpose[];
  /** Which of the server's names it carries: none, the API server's, or etcd's. */
  names?: "apiserver" | "etcd";
  /** The kubeconfig (below `server/cred`) whose user it is. */
  kubeconfig?: string;
}

const masters = ["system:masters"];

/** Every leaf of a server, as K3s lays them out; `client-kube-apiserver` is in system:masters because egress asks for it. */
export const serverCertificates: readonly ServerCertificate[] = [
  client("client-admin", "system:admin", { organizations: masters, kubeconfig: "admin" }),
  client("client-supervisor", "system:k3s-supervisor", { organizations: masters, kubeconfig: "supervisor" }),
  client("client-controller", "system:kube-controller-manager", { kubeconfig: "controller" }),
  client("client-scheduler", "system:kube-scheduler", { kubeconfig: "scheduler" }),
  client("client-kube-apiserver", "system:apiserver", { organizations: masters, kubeconfig: "api-server" }),
  client("client-kube-proxy", "system:kube-proxy"),
  client("client-k3s-controller", "system:k3s-controller"),
  client("client-k3s-cloud-controller", "k3s-cloud-controller-manager", { kubeconfig: "cloud-controller" }),
  client("client-auth-proxy", "system:auth-proxy", { authority: "request-header" }),
  {
    file: "serving-kube-apiserver",
    authority: "server",
    commonName: "kube-apiserver",
    purposes: ["server"],
    names: "apiserver",
  },
  client("etcd/client", "etcd-client", { authority: "etcd-server" }),
  {
    file: "etcd/server-client",
    authority: "etcd-server",
    commonName: "etcd-server",
    purposes: ["server", "client"],
    names: "etcd",
  },
  {
    file: "etcd/peer-server-client",
    authority: "etcd-peer",
    commonName: "etcd-peer",
    purposes: ["server", "client"],
    names: "etcd",
  },
];

/** Private keys that all agents without a certificate request of their own share. */
export const sharedKubeletKeys = ["client-kubelet", "serving-kubelet"] as const;

function client(file: string, commonName: string, extra: Partial<ServerCertificate> = {}): ServerCertificate {
  return { file, authority: "client", commonName, purposes: ["client"], ...extra };
}

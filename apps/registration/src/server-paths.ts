import { join } from "node:path";

/** Where a server keeps its files, as K3s lays them out. */
export interface ServerPaths {
  /** `<dataDir>/server`, 0700. */
  readonly root: string;
  readonly token: string;
  readonly nodeToken: string;
  readonly agentToken: string;
  readonly passwd: string;
  readonly ipsecKey: string;
  readonly serviceKey: string;
  readonly serviceKeyCurrent: string;
  readonly tls: string;
  readonly kubeconfigs: string;
  /** Keyed digests of node passwords that were verified (ours, not K3s's). */
  readonly verifiedNodePasswords: string;
  /** Certificate and key of a CA or leaf, by its file name without ending (`client-admin`, `etcd/server-ca`). */
  certificate(file: string): string;
  key(file: string): string;
  /** A kubeconfig by its user (`admin`, `controller`, …). */
  kubeconfig(name: string): string;
  /** Any other file below the root. */
  file(relative: string): string;
}

export function serverPaths(dataDir: string): ServerPaths {
  const root = join(dataDir, "server");
  const tls = join(root, "tls");
  const kubeconfigs = join(root, "cred");
  return {
    root,
    token: join(root, "token"),
    nodeToken: join(root, "node-token"),
    agentToken: join(root, "agent-token"),
    passwd: join(kubeconfigs, "passwd"),
    ipsecKey: join(kubeconfigs, "ipsec.psk"),
    serviceKey: join(tls, "service.key"),
    serviceKeyCurrent: join(tls, "service.current.key"),
    tls,
    kubeconfigs,
    verifiedNodePasswords: join(kubeconfigs, "verified-node-passwords.json"),
    certificate: (file) => join(tls, `${file}.crt`),
    key: (file) => join(tls, `${file}.key`),
    kubeconfig: (name) => join(kubeconfigs, `${name}.kubeconfig`),
    file: (relative) => join(root, relative),
  };
}

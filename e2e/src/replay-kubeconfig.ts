import { chmod, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { AgentFiles } from "./replay-agent.ts";

const kubeconfigs = {
  "kubelet.kubeconfig": "client-kubelet",
  "kubeproxy.kubeconfig": "client-kube-proxy",
  "k3scontroller.kubeconfig": "client-k3s-controller",
} as const;

/** Writes an agent's files and kubeconfigs as K3s lays them out below `<data dir>/agent`. */
export async function writeAgentDirectory(directory: string, server: string, files: AgentFiles): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const texts: AgentFiles = { ...files };
  for (const [file, certificate] of Object.entries(kubeconfigs)) {
    texts[file] = kubeconfig(server, directory, certificate);
  }
  for (const [name, text] of Object.entries(texts)) {
    const path = join(directory, name);
    await writeFile(path, text, { mode: 0o600 });
    await chmod(path, 0o600);
  }
}

/** The one format of K3s's agent kubeconfigs: files by path, cluster `local`, user `user`, context `Default`. */
function kubeconfig(server: string, directory: string, certificate: string): string {
  return `apiVersion: v1
clusters:
- cluster:
    server: ${server}
    certificate-authority: ${join(directory, "server-ca.crt")}
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
kind: Config
preferences: {}
users:
- name: user
  user:
    client-certificate: ${join(directory, `${certificate}.crt`)}
    client-key: ${join(directory, `${certificate}.key`)}
`;
}

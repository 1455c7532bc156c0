import { nodeOfPasswordSecret, nodePasswordSecretName } from "@keelson/secret-format";
import { KeelsonError } from "@keelson/service";
import type { ClusterApi } from "../cluster/cluster-api.ts";

/** A node name that is taken. */
export interface RegisteredNode {
  name: string;
  /** Whether there is a Node object of that name. */
  hasNode: boolean;
  /** When the name was taken, RFC 3339. */
  since: string | undefined;
}

/** Every name that a node password holds. */
export async function listRegisteredNodes(api: ClusterApi): Promise<RegisteredNode[]> {
  const [secrets, nodes] = await Promise.all([api.listSecrets(), api.listNodes()]);
  const present = new Set(nodes.map((node) => node.metadata.name));
  return secrets
    .flatMap((secret) => {
      const name = nodeOfPasswordSecret(secret.metadata.name);
      return name === undefined ? [] : [{ name, hasNode: present.has(name), since: secret.metadata.creationTimestamp }];
    })
    .sort((a, b) => a.name.localeCompare(b.name));
}

/** Frees a node name: the next host that asks for it gets it. */
export async function releaseNode(api: ClusterApi, name: string): Promise<void> {
  if (await api.deleteSecret(nodePasswordSecretName(name))) return;
  throw new KeelsonError("node/not-registered", `no node is registered as "${name.toLowerCase()}"`, {
    hint: 'see "keelson node list"',
  });
}

import { isNotFound, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import type { Snapshot } from "./snapshot-name.ts";

/** Where stock K3s keeps its inventory of snapshots too. */
const configMap = { namespace: "kube-system", name: "k3s-etcd-snapshots" };

export interface InventoryEntries {
  /** The server whose snapshots these are; other servers' entries stay as they are. */
  nodeName: string;
  snapshots: readonly Snapshot[];
  /** Whether the object store was asked: entries of what lies there are left alone where it was not. */
  hasStore: boolean;
}

/** Makes a server's entries in the cluster's inventory, a ConfigMap, what its snapshots are. */
export async function publishInventory(
  kube: KubeClient,
  { nodeName, snapshots, hasStore }: InventoryEntries,
): Promise<void> {
  const { namespace, name } = configMap;
  const own = snapshots.filter((snapshot) => snapshot.nodeName === nodeName);
  const entries = Object.fromEntries(own.map((snapshot) => [keyOf(snapshot), JSON.stringify(snapshot)]));
  try {
    const { data = {} } = await kube.get<KubeObject & { data?: Record<string, string> }>(
      resources.configMaps,
      name,
      namespace,
    );
    const gone = Object.entries(data).filter(([key, text]) => {
      const isOurs = (JSON.parse(text) as Partial<Snapshot>).nodeName === nodeName;
      return isOurs && entries[key] === undefined && (hasStore || !key.startsWith("s3-"));
    });
    const changes = { ...entries, ...Object.fromEntries(gone.map(([key]) => [key, null])) };
    await kube.patch(resources.configMaps, name, { data: changes }, { namespace, type: "merge" });
  } catch (error) {
    if (!isNotFound(error)) throw error;
    if (own.length === 0) return;
    const object = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace }, data: entries };
    await kube.create(resources.configMaps, object, namespace);
  }
}

/** Servers share the ConfigMap; a key begins with the place, as K3s's do. */
function keyOf(snapshot: Snapshot): string {
  return `${snapshot.location.startsWith("s3:") ? "s3" : "local"}-${snapshot.name}`;
}

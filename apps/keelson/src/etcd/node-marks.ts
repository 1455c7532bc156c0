import type { KubeObject } from "@keelson/kube-client";

/** How a Node object speaks of its etcd member. Names are K3s's, so that both manage the same objects. */
const annotations = {
  memberName: "etcd.k3s.cattle.io/node-name",
  address: "etcd.k3s.cattle.io/node-address",
  remove: "etcd.k3s.cattle.io/remove",
  removedName: "etcd.k3s.cattle.io/removed-node-name",
} as const;

export const etcdNodeLabel = "node-role.kubernetes.io/etcd";

/** Keeps a deleted Node until its member is gone, so that no deletion is missed while no server leads. */
export const memberFinalizer = "wrangler.cattle.io/managed-etcd-controller";

export interface MemberReference {
  name: string;
  address: string;
}

export type NodeAction =
  | { kind: "none" }
  /** Put the finalizer on, so that a deletion waits for us. */
  | { kind: "hold" }
  /** The node is being deleted: remove its member (if it names one), then the finalizer. */
  | { kind: "release"; member: MemberReference | undefined }
  /** Asked to leave the etcd cluster and stay a node. */
  | { kind: "evict"; member: MemberReference };

/** What the leader has to do for a node. */
export function planNode(node: KubeObject): NodeAction {
  const { labels = {}, annotations: notes = {}, finalizers = [], deletionTimestamp } = node.metadata;
  const name = notes[annotations.memberName];
  const address = notes[annotations.address];
  const member = name === undefined || address === undefined ? undefined : { name, address };
  const isHeld = finalizers.includes(memberFinalizer);
  if (deletionTimestamp !== undefined) return isHeld ? { kind: "release", member } : { kind: "none" };
  if (notes[annotations.remove] === "true" && member !== undefined && notes[annotations.removedName] !== member.name) {
    return { kind: "evict", member };
  }
  if (labels[etcdNodeLabel] === "true" && !isHeld) return { kind: "hold" };
  return { kind: "none" };
}

/** The merge patch that makes a server's own Node name its member; undefined when it does already. */
export function ownNodePatch(node: KubeObject, member: MemberReference): object | undefined {
  const { labels = {}, annotations: notes = {} } = node.metadata;
  const wantedLabels: Record<string, string> = {
    [etcdNodeLabel]: "true",
    "node-role.kubernetes.io/control-plane": "true",
  };
  const wantedNotes: Record<string, string> = {
    [annotations.memberName]: member.name,
    [annotations.address]: member.address,
  };
  const isComplete =
    Object.entries(wantedLabels).every(([key, value]) => labels[key] === value) &&
    Object.entries(wantedNotes).every(([key, value]) => notes[key] === value);
  if (isComplete) return undefined;
  // A new member of this name is not the one that was asked to leave.
  const isNewMember = notes[annotations.memberName] !== undefined && notes[annotations.memberName] !== member.name;
  const cleared = isNewMember ? { [annotations.remove]: null, [annotations.removedName]: null } : {};
  return { metadata: { labels: wantedLabels, annotations: { ...wantedNotes, ...cleared } } };
}

/** Marks that the member was removed and the node stays. */
export function evictedPatch(member: MemberReference): object {
  return { metadata: { annotations: { [annotations.removedName]: member.name }, labels: { [etcdNodeLabel]: null } } };
}

/** The finalizers with ours put on or taken off; the resource version guards against losing someone else's change. */
export function finalizerPatch(node: KubeObject, held: boolean): object {
  const { finalizers = [], resourceVersion } = node.metadata;
  const others = finalizers.filter((finalizer) => finalizer !== memberFinalizer);
  return { metadata: { resourceVersion, finalizers: held ? [...others, memberFinalizer] : others } };
}

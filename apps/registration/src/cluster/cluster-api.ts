import type { SecretObject } from "@keelson/secret-format";

/** The fields of a Node that registration reads. */
export interface NodeObject {
  metadata: {
    name: string;
    uid: string;
    labels?: Record<string, string>;
    annotations?: Record<string, string>;
    creationTimestamp?: string;
    resourceVersion?: string;
  };
  spec?: { taints?: Taint[] };
  status?: { addresses?: { type: string; address: string }[]; nodeInfo?: { kubeletVersion?: string } };
}

export interface Taint {
  key: string;
  value?: string;
  effect: string;
}

/** A cluster role or its binding, as far as it may be changed later: its rules or its subjects. */
export interface RoleObject {
  apiVersion: string;
  kind: "ClusterRole" | "ClusterRoleBinding";
  metadata: { name: string };
  rules?: { apiGroups: string[]; resources: string[]; verbs: string[] }[];
  roleRef?: { apiGroup: string; kind: string; name: string };
  subjects?: { kind: string; name: string; apiGroup: string }[];
}

export interface NodeEvent {
  node: Pick<NodeObject["metadata"], "name" | "uid">;
  type: "Normal" | "Warning";
  reason: string;
  message: string;
}

/**
 * What registration needs of the Kubernetes API. Reads come from a watched copy where there is one. Every method throws
 * a KeelsonError when the API cannot answer; "there is none" is undefined, not an error.
 */
export interface ClusterApi {
  /** Whether the API has answered and the watched copies are complete. */
  readonly ready: boolean;
  /** A Secret in kube-system as the watched copy has it: undefined says nothing of the API. Never throws. */
  knownSecret(name: string): SecretObject | undefined;
  /** A Secret in kube-system. */
  getSecret(name: string): Promise<SecretObject | undefined>;
  /** Creates a Secret in kube-system; `exists` when there is one of that name. */
  createSecret(secret: SecretObject): Promise<"created" | "exists">;
  /** Replaces a Secret that is still at its resourceVersion; false when it is not. */
  replaceSecret(secret: SecretObject): Promise<boolean>;
  /** Deletes a Secret in kube-system, with `uid` only that very one; false when it was not there. */
  deleteSecret(name: string, uid?: string): Promise<boolean>;
  /** Makes a Node the owner of a Secret, so that it goes with it. */
  setSecretOwner(name: string, node: NodeObject["metadata"]): Promise<void>;
  listSecrets(): Promise<readonly SecretObject[]>;
  getNode(name: string): Promise<NodeObject | undefined>;
  listNodes(): Promise<readonly NodeObject[]>;
  /** Replaces the taints of a Node that is still at its resourceVersion; does nothing when it is not, or is gone. */
  setNodeTaints(node: NodeObject["metadata"], taints: readonly Taint[]): Promise<void>;
  /** Creates a role or binding; gives one that is there the same rules or subjects. */
  establishRole(role: RoleObject): Promise<void>;
  recordEvent(event: NodeEvent): Promise<void>;
  /** `host:port` of the servers behind Service default/kubernetes. */
  apiServers(): Promise<readonly string[]>;
  /** Calls back when Nodes appear, change or go; the returned function ends it. */
  onNodeChange(listener: (change: { name: string; node: NodeObject | undefined }) => void): () => void;
}

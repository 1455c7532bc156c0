/** Kubernetes objects as far as a client needs to know them. Source: apimachinery meta/v1. */

export interface ObjectMeta {
  name: string;
  namespace?: string;
  generateName?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
}

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

export interface KubeObject {
  apiVersion?: string;
  kind?: string;
  metadata: ObjectMeta;
}

export interface KubeList<T> {
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  items: T[];
}

/** A resource by its REST names: `{ group: "", version: "v1", resource: "nodes" }`. */
export interface ResourceRef {
  group: string;
  version: string;
  resource: string;
}

export const resources = {
  namespaces: { group: "", version: "v1", resource: "namespaces" },
  nodes: { group: "", version: "v1", resource: "nodes" },
  pods: { group: "", version: "v1", resource: "pods" },
  secrets: { group: "", version: "v1", resource: "secrets" },
  configMaps: { group: "", version: "v1", resource: "configmaps" },
  services: { group: "", version: "v1", resource: "services" },
  endpoints: { group: "", version: "v1", resource: "endpoints" },
  events: { group: "", version: "v1", resource: "events" },
  endpointSlices: { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" },
  clusterRoles: { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterroles" },
  clusterRoleBindings: { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterrolebindings" },
  leases: { group: "coordination.k8s.io", version: "v1", resource: "leases" },
} as const satisfies Record<string, ResourceRef>;

/** The path of a resource, or of one object of it. */
export function resourcePath(ref: ResourceRef, namespace?: string, name?: string, subresource?: string): string {
  const root = ref.group === "" ? `/api/${ref.version}` : `/apis/${ref.group}/${ref.version}`;
  const parts = [
    ...(namespace === undefined ? [] : ["namespaces", namespace]),
    ref.resource,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  return `${root}/${parts.map((part, index) => (index === 0 ? part : encodeURIComponent(part))).join("/")}`;
}

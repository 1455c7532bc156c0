import type { ApiObject } from "../kinds/kind.ts";

/** The roles that people bind by name on any cluster. Source: kubernetes bootstrap policy, without aggregation. */
export function wellKnownRoles(): ApiObject[] {
  const read = ["get", "list", "watch"];
  const write = ["create", "delete", "deletecollection", "patch", "update"];
  const namespaced = [
    { apiGroups: ["apps", "autoscaling", "batch", "policy", "networking.k8s.io"], resources: ["*"] },
    {
      apiGroups: [""],
      resources: [
        "configmaps",
        "endpoints",
        "events",
        "persistentvolumeclaims",
        "pods",
        "pods/log",
        "pods/status",
        "services",
      ],
    },
    { apiGroups: [""], resources: ["replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts"] },
    { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"] },
  ];
  const view = [
    ...namespaced.map((rule) => ({ ...rule, verbs: read })),
    { apiGroups: [""], resources: ["namespaces", "limitranges", "resourcequotas"], verbs: read },
  ];
  const edit = [
    ...view,
    ...namespaced.map((rule) => ({ ...rule, verbs: write })),
    { apiGroups: [""], resources: ["secrets"], verbs: [...read, ...write] },
    {
      apiGroups: [""],
      resources: ["pods/attach", "pods/exec", "pods/portforward", "pods/eviction"],
      verbs: ["get", "create"],
    },
  ];
  const everything = [
    { apiGroups: ["*"], resources: ["*"], verbs: ["*"] },
    { nonResourceURLs: ["*"], verbs: ["*"] },
  ];
  const named = { "cluster-admin": everything, admin: edit, edit, view };
  return Object.entries(named).map(([name, rules]) => ({
    apiVersion: "rbac.authorization.k8s.io/v1",
    kind: "ClusterRole",
    metadata: { name, labels: { "kubernetes.io/bootstrapping": "rbac-defaults" } },
    rules,
  }));
}

import { groups, nodeOf, type User } from "./user.ts";

/** What is asked, in the terms of rules. */
export interface Attributes {
  user: User;
  verb: string;
  group: string;
  resource: string;
  subresource: string;
  namespace: string;
  name: string;
  /** For requests that are not about a resource. */
  path?: string;
}

interface Rule {
  /** Group names or user names this rule speaks for. */
  for: readonly string[];
  verbs: readonly string[];
  /** `resource`, `resource/subresource`, `resource.group`; `*` is everything. */
  resources?: readonly string[];
  paths?: readonly string[];
}

/** A rule as roles hold it. */
export interface PolicyRule {
  verbs?: readonly string[];
  apiGroups?: readonly string[];
  resources?: readonly string[];
  resourceNames?: readonly string[];
  nonResourceURLs?: readonly string[];
}

const read = ["get", "list", "watch"];
const all = ["*"];

/**
 * Who may do what before any RBAC object grants more: a fixed table, highest privilege first. Who is not in it, a service
 * account or a bootstrap token as well, may ask about itself and see which kinds there are, and nothing else
 * (system:basic-user, system:discovery, system:public-info-viewer). What nodes may is in {@link nodeMay} and NodeRestriction.
 */
const rules: readonly Rule[] = [
  { for: [groups.masters], verbs: all, resources: ["*"], paths: ["*"] },
  {
    for: ["system:kube-controller-manager", "system:kube-scheduler", "k3s-cloud-controller-manager"],
    verbs: all,
    resources: ["*"],
    paths: ["*"],
  },
  {
    for: ["system:kube-proxy"],
    verbs: read,
    resources: ["services", "endpoints", "endpointslices.discovery.k8s.io", "nodes"],
  },
  { for: ["system:kube-proxy"], verbs: ["create", "patch", "update"], resources: ["events", "events.events.k8s.io"] },
  {
    for: ["system:k3s-controller"],
    verbs: read,
    resources: [
      "nodes",
      "namespaces",
      "pods",
      "endpoints",
      "endpointslices.discovery.k8s.io",
      "networkpolicies.networking.k8s.io",
    ],
  },
  {
    for: [groups.authenticated],
    verbs: ["create"],
    resources: [
      "selfsubjectaccessreviews.authorization.k8s.io",
      "selfsubjectrulesreviews.authorization.k8s.io",
      "selfsubjectreviews.authentication.k8s.io",
    ],
  },
  {
    for: [groups.authenticated],
    verbs: ["get"],
    paths: [
      "/api",
      "/api/*",
      "/apis",
      "/apis/*",
      "/openapi/*",
      "/version",
      "/healthz",
      "/livez",
      "/readyz",
      "/livez/*",
      "/readyz/*",
    ],
  },
  { for: [groups.unauthenticated], verbs: ["get"], paths: ["/version", "/healthz", "/livez", "/readyz"] },
];

export interface Decision {
  allowed: boolean;
  /** Why not, in kube-apiserver's words; "" when allowed. */
  reason: string;
}

/** What the fixed table says. */
export function authorize(attributes: Attributes): Decision {
  const node = nodeOf(attributes.user);
  if (rulesOf(attributes.user).some((rule) => matches(rule, attributes))) return { allowed: true, reason: "" };
  if (node !== undefined && nodeMay(node, attributes)) return { allowed: true, reason: "" };
  return { allowed: false, reason: refusal(attributes) };
}

function rulesOf(user: User): Rule[] {
  const names = new Set([user.name, ...user.groups]);
  return rules.filter((rule) => rule.for.some((subject) => names.has(subject)));
}

/** What the fixed table grants a user, as RBAC would say it. What a node may is not all in it. */
export function tableRulesOf(user: User): PolicyRule[] {
  return rulesOf(user).flatMap(({ verbs, resources = [], paths = [] }) => {
    const granted: PolicyRule[] = resources.map((resource) => {
      const [plural = "", ...group] = resource.split(".");
      return { verbs, apiGroups: [resource === "*" ? "*" : group.join(".")], resources: [plural] };
    });
    return paths.length === 0 ? granted : [...granted, { verbs, nonResourceURLs: paths }];
  });
}

function matches(rule: Rule, { verb, path, group, resource, subresource }: Attributes): boolean {
  if (!rule.verbs.includes("*") && !rule.verbs.includes(verb)) return false;
  if (path !== undefined) return rule.paths?.some((pattern) => pathMatches(pattern, path)) ?? false;
  const base = subresource === "" ? resource : `${resource}/${subresource}`;
  const qualified = group === "" ? base : `${base}.${group}`;
  return rule.resources?.some((pattern) => pattern === "*" || pattern === qualified) ?? false;
}

function pathMatches(pattern: string, path: string): boolean {
  if (pattern === "*" || pattern === path) return true;
  return pattern.endsWith("*") && path.startsWith(pattern.slice(0, -1));
}

/** What a kubelet may do. Source: kubernetes node authorizer and the NodeRestriction admission plugin, without pod graphs. */
function nodeMay(node: string, { verb, group, resource, subresource, name, path }: Attributes): boolean {
  if (path !== undefined) return false;
  // Never the subresources that lead into a kubelet.
  const isRead = read.includes(verb) && ["", "status"].includes(subresource);
  switch (group === "" ? resource : `${resource}.${group}`) {
    case "nodes":
      if (isRead) return true;
      if (verb === "create") return subresource === "" && (name === "" || name === node);
      return name === node && ["update", "patch"].includes(verb) && ["", "status"].includes(subresource);
    case "leases.coordination.k8s.io":
      return isRead || verb === "create" || name === node;
    case "csinodes.storage.k8s.io":
      return isRead || verb === "create" || name === node;
    case "pods":
      if (subresource === "status") return ["get", "update", "patch"].includes(verb);
      if (subresource === "eviction") return verb === "create";
      return subresource === "" && (isRead || ["create", "delete"].includes(verb));
    case "events":
    case "events.events.k8s.io":
      return ["create", "update", "patch"].includes(verb);
    case "secrets":
    case "configmaps":
      // Single objects only (a selector on the name counts); a node never lists all secrets.
      return isRead && name !== "";
    case "serviceaccounts":
      return (subresource === "token" && verb === "create") || (subresource === "" && verb === "get");
    case "services":
    case "endpoints":
    case "endpointslices.discovery.k8s.io":
    case "runtimeclasses.node.k8s.io":
    case "csidrivers.storage.k8s.io":
    case "persistentvolumes":
    case "persistentvolumeclaims":
    case "volumeattachments.storage.k8s.io":
      return isRead;
    case "tokenreviews.authentication.k8s.io":
    case "subjectaccessreviews.authorization.k8s.io":
    case "localsubjectaccessreviews.authorization.k8s.io":
      return verb === "create";
    case "certificatesigningrequests.certificates.k8s.io":
      return verb === "create" || isRead;
    default:
      return false;
  }
}

function refusal({ user, verb, group, resource, subresource, namespace, name, path }: Attributes): string {
  if (path !== undefined) return `User "${user.name}" cannot ${verb} path "${path}"`;
  const what = subresource === "" ? resource : `${resource}/${subresource}`;
  const which = name === "" ? "" : ` "${name}"`;
  const where = namespace === "" ? "at the cluster scope" : `in the namespace "${namespace}"`;
  const full = group === "" ? resource : `${resource}.${group}`;
  return `${full}${which} is forbidden: User "${user.name}" cannot ${verb} resource "${what}" in API group "${group}" ${where}`;
}

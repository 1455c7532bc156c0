import { type Authentication, groups } from "./identity.ts";

/** Who may call a route. */
export type RoleClass = "public" | "agent" | "node" | "server" | "system";

/**
 * The groups that open a role class. `public` needs none. A server credential does not open agent routes (stock v1.21
 * answers 403, and no client of either era needs it); node certificates and bootstrap tokens do, for newer agents.
 */
export const allowedGroups: Readonly<Record<RoleClass, readonly string[]>> = {
  public: [],
  agent: [groups.agent, groups.nodes, groups.bootstrappers],
  node: [groups.nodes],
  server: [groups.server],
  system: [groups.masters],
};

/** Names of the supervisor routes; a handler is chosen by it. */
export type RouteName =
  | "cacerts"
  | "ping"
  | "static"
  | "connect-egress"
  | "db-info"
  | "db-snapshot"
  | "server-bootstrap"
  | "token"
  | "cert-cacerts"
  | "cert-status"
  | "cert-renewal"
  | "encrypt-status"
  | "encrypt-config"
  | "tunnel"
  | "config"
  | "client-ca"
  | "server-ca"
  | "serving-kubelet"
  | "client-kubelet"
  | "client-kube-proxy"
  | "client-k3s-controller"
  | "apiservers"
  | "readyz";

export interface SupervisorRoute {
  readonly name: RouteName;
  /** Exact path, or with a trailing `*` a prefix. Empty for CONNECT, which has no path. */
  readonly path: string;
  readonly role: RoleClass;
  /** Methods that are accepted; stock does not restrict the others. Anything else is 405. */
  readonly methods?: readonly string[];
  /** The request must also prove the node password (headers in {@link nodeHeaders}). */
  readonly nodePassword?: true;
  /** Details of a failure are logged, the answer only carries an error id. */
  readonly sensitive?: "certificate" | "token";
}

/**
 * Every route of the supervisor, in the order in which they are matched. What matches none goes to the Kubernetes API,
 * which authenticates by itself.
 */
export const supervisorRoutes: readonly SupervisorRoute[] = [
  { name: "cacerts", path: "/cacerts", role: "public" },
  { name: "ping", path: "/ping", role: "public" },
  { name: "static", path: "/static/*", role: "public" },
  { name: "connect-egress", path: "", role: "system", methods: ["CONNECT"] },
  { name: "db-info", path: "/db/info", role: "server", methods: ["GET"] },
  { name: "db-snapshot", path: "/db/snapshot", role: "server", methods: ["POST"] },
  { name: "server-bootstrap", path: "/v1-k3s/server-bootstrap", role: "server", methods: ["GET"] },
  { name: "token", path: "/v1-k3s/token", role: "server", methods: ["PUT"], sensitive: "token" },
  { name: "cert-cacerts", path: "/v1-k3s/cert/cacerts", role: "server", methods: ["PUT"], sensitive: "certificate" },
  { name: "cert-status", path: "/v1-k3s/cert/status", role: "server", methods: ["GET"] },
  { name: "cert-renewal", path: "/v1-k3s/cert/*", role: "server", methods: ["PUT"], sensitive: "certificate" },
  { name: "encrypt-config", path: "/v1-k3s/encrypt/config", role: "server", methods: ["PUT"] },
  { name: "encrypt-status", path: "/v1-k3s/encrypt/status", role: "server", methods: ["GET"] },
  { name: "tunnel", path: "/v1-k3s/connect", role: "node" },
  { name: "config", path: "/v1-k3s/config", role: "agent" },
  { name: "client-ca", path: "/v1-k3s/client-ca.crt", role: "agent" },
  { name: "server-ca", path: "/v1-k3s/server-ca.crt", role: "agent" },
  { name: "serving-kubelet", path: "/v1-k3s/serving-kubelet.crt", role: "agent", nodePassword: true },
  { name: "client-kubelet", path: "/v1-k3s/client-kubelet.crt", role: "agent", nodePassword: true },
  { name: "client-kube-proxy", path: "/v1-k3s/client-kube-proxy.crt", role: "agent" },
  { name: "client-k3s-controller", path: "/v1-k3s/client-k3s-controller.crt", role: "agent" },
  { name: "apiservers", path: "/v1-k3s/apiservers", role: "agent" },
  { name: "readyz", path: "/v1-k3s/readyz", role: "agent" },
];

const exactRoutes = new Map(supervisorRoutes.map((route) => [route.path, route]));
const prefixRoutes = supervisorRoutes.filter((route) => route.path.endsWith("*"));
const egressRoute = supervisorRoutes.find((route) => route.name === "connect-egress")!;

/** The route of a request, by method and path (without the query); undefined means the Kubernetes API. */
export function findRoute(method: string, path: string): SupervisorRoute | undefined {
  if (method === "CONNECT") return egressRoute;
  if (path === "") return undefined;
  return exactRoutes.get(path) ?? prefixRoutes.find((route) => path.startsWith(route.path.slice(0, -1)));
}

/** The status that a role check answers with: undefined lets the request pass. */
export function checkRole(role: RoleClass, authentication: Authentication): 401 | 403 | undefined {
  if (role === "public") return undefined;
  if (authentication.outcome === "refused") return 401;
  if (authentication.outcome === "anonymous") return 403;
  const held = authentication.identity.groups;
  return allowedGroups[role].some((group) => held.includes(group)) ? undefined : 403;
}

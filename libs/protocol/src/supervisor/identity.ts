/** Groups that the supervisor API knows. Source: K3s supervisor router. */
export const groups = {
  agent: "k3s:agent",
  server: "k3s:server",
  nodes: "system:nodes",
  bootstrappers: "system:bootstrappers",
  masters: "system:masters",
  authenticated: "system:authenticated",
} as const;

const nodeUserPrefix = "system:node:";

/** Who a request comes from, after authentication. */
export interface Identity {
  user: string;
  groups: readonly string[];
  /** Which credential was accepted. */
  method: "basic" | "bootstrap-token" | "client-certificate";
}

/** What a connection and a request carry that may prove an identity. */
export interface Credentials {
  /** The Authorization header as it came. */
  authorization?: string;
  /** The TLS client certificate, DER, leaf first, with whatever intermediates the client sent. Not yet verified. */
  clientCertificates?: readonly Uint8Array[];
}

/**
 * The outcome of trying every authenticator in turn; the first that succeeds wins, a failing one does not stop the others.
 * `refused` (a credential was wrong) is 401 on a supervisor route; `anonymous` (there was none that could be read) is 403.
 */
export type Authentication =
  | { outcome: "authenticated"; identity: Identity }
  | { outcome: "anonymous" }
  | { outcome: "refused" };

/** The node that an identity speaks for: only a kubelet client certificate names one. */
export function nodeNameOf(identity: Identity): string | undefined {
  if (!identity.user.startsWith(nodeUserPrefix) || !identity.groups.includes(groups.nodes)) return undefined;
  const name = identity.user.slice(nodeUserPrefix.length);
  return name === "" ? undefined : name;
}

/** The user name of a kubelet's client certificate. */
export function nodeUser(nodeName: string): string {
  return `${nodeUserPrefix}${nodeName}`;
}

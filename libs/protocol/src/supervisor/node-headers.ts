/** Headers of the two kubelet certificate requests, in the spelling of node:http (lower case). */
export const nodeHeaders = {
  /** Node name; the server lower-cases it. */
  name: "k3s-node-name",
  /** Node password as it stands in /etc/rancher/node/password, without the newline. */
  password: "k3s-node-password",
  /** Comma-separated addresses, no blanks, IPv6 without brackets; read for the serving certificate only. */
  ips: "k3s-node-ip",
} as const;

/** What an agent says about its node; a missing or empty header is undefined. */
export interface NodeClaims {
  name?: string;
  password?: string;
  ips?: string;
}

/** Reads the node headers of a request. */
export function readNodeClaims(headers: Readonly<Record<string, string | string[] | undefined>>): NodeClaims {
  const value = (name: string): string | undefined => {
    const header = headers[name];
    const text = Array.isArray(header) ? header[0] : header;
    return text === "" ? undefined : text;
  };
  const claims: NodeClaims = {};
  const name = value(nodeHeaders.name);
  const password = value(nodeHeaders.password);
  const ips = value(nodeHeaders.ips);
  if (name !== undefined) claims.name = name;
  if (password !== undefined) claims.password = password;
  if (ips !== undefined) claims.ips = ips;
  return claims;
}

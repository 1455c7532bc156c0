import { isIP } from "node:net";
import { canonicalAddress } from "./address.ts";

/** How traffic to nodes and pods travels (K3s `--egress-selector-mode`). */
export type EgressMode = "disabled" | "agent" | "pod" | "cluster";

/** The CRI streaming port: with the kubelet's own, what every agent serves on its loopback. */
export const streamingPort = 10_010;
export const defaultKubeletPort = 10_250;

/** What the routing needs to know about a node. */
export interface RoutedNode {
  name: string;
  kubeletPort: number;
  /** The node says that its agent passes on more than kubelet traffic (label `egress.k3s.io/cluster`). */
  egress: boolean;
  /** An address to dial when nothing is tunnelled. */
  address: string | undefined;
}

/** Who owns an address. Exact matches only, of canonical addresses. */
export interface AddressTable {
  nodeByName(name: string): RoutedNode | undefined;
  nodeByIp(ip: string): RoutedNode | undefined;
  /** The node of a pod that has this IP as its own; only in modes pod and cluster. */
  nodeOfPodIp(ip: string): RoutedNode | undefined;
}

export interface RouteInput {
  mode: EgressMode;
  table: AddressTable;
  /** The node that runs beside this server, if any: never tunnelled. */
  ownNode: { name: string; bindAddress: string } | undefined;
  /** `127.0.0.1`, or `::1` in IPv6 clusters. */
  loopback: string;
}

/**
 * - `tunnel`: through the node's session to `address`. `kubelet` marks targets rewritten to the agent's loopback: they must
 *   never be dialled from here, where they would reach another kubelet; the others may when the node has no session.
 * - `direct`: a plain connection.
 */
export type Route =
  | { via: "tunnel"; node: string; address: string; kubelet: true }
  | { via: "tunnel"; node: string; address: string; kubelet: false; direct: { host: string; port: number } }
  | { via: "direct"; host: string; port: number }
  | { via: "none"; reason: string };

/** Splits the target of a CONNECT, an address in its canonical form; undefined when it is not `host:port`. */
export function parseAuthority(text: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]@/\s]{1,253})):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const port = Number(match[3]);
  return port < 1 || port > 65_535 ? undefined : { host: canonicalAddress(match[1] ?? match[2]!), port };
}

/** The routing table of the egress proxy (reference: server side in K3s), without its fallback to loopback. */
export function routeOf(host: string, port: number, input: RouteInput): Route {
  const { mode, table, ownNode } = input;
  const isName = isIP(host) === 0;
  const node = isName ? table.nodeByName(host) : table.nodeByIp(host);
  const nodeName = isName ? host.toLowerCase() : node?.name;
  const kubelet = port === (node?.kubeletPort ?? defaultKubeletPort) || port === streamingPort;

  if (nodeName !== undefined && nodeName === ownNode?.name) {
    return { via: "direct", host: kubelet ? ownNode.bindAddress : (node?.address ?? host), port };
  }
  if (mode === "disabled") {
    if (!isName) return { via: "direct", host, port };
    if (node?.address === undefined) return { via: "none", reason: `no address of node ${host} is known` };
    return { via: "direct", host: node.address, port };
  }
  if (nodeName !== undefined && (isName || kubelet)) {
    const address = `${bracketed(input.loopback)}:${port}`;
    return { via: "tunnel", node: nodeName, address, kubelet: true };
  }
  const owner = node ?? table.nodeOfPodIp(host);
  if (owner?.egress && owner.name !== ownNode?.name) {
    const address = `${bracketed(host)}:${port}`;
    return { via: "tunnel", node: owner.name, address, kubelet: false, direct: { host, port } };
  }
  return { via: "direct", host, port };
}

/**
 * Whether a stock agent lets a target (`host:port`) through: its kubelet's ports on its loopback, addresses where its node
 * says so, never a name. It answers a refusal by closing its whole tunnel, so what it would refuse must not be asked.
 */
export function stockAgentAllows(address: string, node: RoutedNode | undefined): boolean {
  const target = parseAuthority(address);
  if (target === undefined) return false;
  const { host, port } = target;
  if (host !== "127.0.0.1" && host !== "::1") return isIP(host) !== 0 && (node?.egress ?? false);
  return port === (node?.kubeletPort ?? defaultKubeletPort) || port === streamingPort;
}

function bracketed(host: string): string {
  return isIP(host) === 6 ? `[${host}]` : host;
}

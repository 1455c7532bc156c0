import { isIP } from "node:net";

/** The CRI streaming port of containerd, which the kubelet redirects exec and attach to. */
export const streamingPort = 10010;

export interface Target {
  host: string;
  port: number;
}

/** Splits `host:port`; undefined when it is neither a name nor an IP with a port. */
export function parseTarget(address: string): Target | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(address);
  if (match === null) return undefined;
  const port = Number(match[3]);
  if (port < 1 || port > 65_535) return undefined;
  return { host: match[1] ?? match[2]!, port };
}

/** What the server may reach through this agent besides the kubelet: IPs, and on them all ports or some. */
export interface AllowedTargets {
  allows(ip: string, port: number): boolean;
}

/**
 * Decides about one Connect, first match wins: the kubelet and the streaming port on loopback; then what the egress mode
 * allows. Host names never. Returns the reason for a refusal.
 */
export function refusalOf(
  protocol: string,
  target: Target | undefined,
  kubeletPort: number,
  allowed: AllowedTargets | undefined,
): string | undefined {
  if (protocol !== "tcp") return `protocol ${protocol} is not allowed`;
  if (target === undefined) return "not a host and a port";
  const loopback = target.host === "127.0.0.1" || target.host === "::1";
  if (loopback && (target.port === kubeletPort || target.port === streamingPort)) return undefined;
  if (isIP(target.host) === 0) return "host names are not allowed";
  if (!loopback && allowed?.allows(target.host, target.port)) return undefined;
  return `${target.host}:${target.port} is not allowed through this agent`;
}

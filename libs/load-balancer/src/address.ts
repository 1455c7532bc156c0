import { lookup, resolve4, resolve6 } from "node:dns/promises";
import { isIP } from "node:net";
import { KeelsonError } from "@keelson/service";

/** Where a registration URL points: a host name or IP, and a port. */
export interface RegistrationAddress {
  host: string;
  port: number;
}

/** Parses `https://host[:port]`; the port defaults to 443, as in K3s. Throws `server-url/invalid`. */
export function parseServerUrl(text: string): RegistrationAddress {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw invalid(text);
  }
  if (url.protocol !== "https:" || url.hostname === "") throw invalid(text);
  return { host: url.hostname.replace(/^\[|\]$/g, ""), port: url.port === "" ? 443 : Number(url.port) };
}

function invalid(text: string): KeelsonError {
  return new KeelsonError("server-url/invalid", `${JSON.stringify(text)} is not a server URL`, {
    hint: "give the server as https://<host>:6443",
  });
}

/** `host:port`, IPv6 in brackets. */
export function formatAddress(host: string, port: number): string {
  return isIP(host) === 6 ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Splits `host:port`; brackets of IPv6 go. */
export function splitAddress(address: string): RegistrationAddress {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon).replace(/^\[|\]$/g, ""), port: Number(address.slice(colon + 1)) };
}

/** Whether a text is `host:port` with a port that can be dialled. */
export function isAddress(text: string): boolean {
  const { host, port } = splitAddress(text);
  return host !== "" && /:\d{1,5}$/.test(text) && port >= 1 && port <= 65_535;
}

/** Looks names up; injected in tests. */
export type ResolveHost = (host: string) => Promise<readonly string[]>;

/** All addresses of a name: every A and AAAA record, or what the system's resolver says (hosts file, mDNS). */
export const resolveHost: ResolveHost = async (host) => {
  if (isIP(host) !== 0) return [host];
  const found = await lookup(host, { all: true }).catch(() => []);
  if (found.length > 1) return unique(found.map(({ address }) => address));
  // A resolver may hand out one record of many at a time.
  const records = await Promise.allSettled([resolve4(host), resolve6(host)]);
  const all = records.flatMap((record) => (record.status === "fulfilled" ? record.value : []));
  return unique([...found.map(({ address }) => address), ...all]);
};

function unique(addresses: readonly string[]): string[] {
  return [...new Set(addresses)];
}

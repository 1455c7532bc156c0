import { hostname, networkInterfaces } from "node:os";
import { KeelsonError } from "@keelson/service";

/** Where to listen; without a host on all interfaces. */
export type ListenTarget = { path: string } | { secure: boolean; host: string | undefined; port: number };

const defaultPort = 2379;
const tcpUrl = /^(https?):\/\/(?:\[([^\]]+)\]|([^/:?#[\]]*))(?::(\d{0,5}))?\/?$/;

/** Parses `http(s)://host:port`, the host possibly missing, or `unix://path`, possibly relative. Throws a KeelsonError. */
export function parseListenUrl(url: string): ListenTarget {
  const path = /^unix:\/\/(.+)$/s.exec(url)?.[1];
  if (path !== undefined) return { path };
  const match = tcpUrl.exec(url);
  const port = Number(match?.[4] || defaultPort);
  if (match === null || port > 65_535) {
    throw new KeelsonError("datastore/listen", `cannot listen on ${url}`, {
      hint: "use http://host:port, https://host:port, :port for all interfaces, or unix:///path",
    });
  }
  return { secure: match[1] === "https", host: match[2] ?? (match[3] || undefined), port };
}

/** A listen URL as clients on other machines can use it: "all interfaces" is no address to connect to. */
export function clientUrl(url: string): string {
  return url.replace(/^(https?:\/\/)(?:0\.0\.0\.0|\[::\])(?=:|$)/, `$1${reachableHost()}`);
}

function reachableHost(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((list) => list ?? []);
  const outward = addresses.find(({ internal, family }) => !internal && family === "IPv4");
  return outward?.address ?? hostname();
}

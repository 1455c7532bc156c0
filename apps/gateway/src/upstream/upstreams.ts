import {
  type ClientRequest,
  Agent as HttpAgent,
  type RequestOptions as HttpRequestOptions,
  request as httpRequest,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { isIP, connect as netConnect } from "node:net";
import type { Duplex } from "node:stream";
import { type ConnectionOptions, connect as tlsConnect } from "node:tls";
import { type Clock, errorMessage, KeelsonError } from "@keelson/service";

/** PEM texts of the front-proxy client certificate and of the CA that signed the upstream's serving certificate. */
export interface UpstreamTls {
  ca: string | readonly string[];
  cert: string;
  key: string;
}

/** Where the Kubernetes API is. */
export type KubeApiTarget =
  /** The embedded Kubernetes API on its own unix socket, where this process is trusted to name the user. */
  | { socketPath: string }
  /** One or more kube-apiservers; `tls` is the front-proxy identity (CN `system:auth-proxy`), read anew when it changes. */
  | { urls: readonly string[]; tls: UpstreamTls | (() => UpstreamTls) };

/** One place that can take a request. */
export interface Upstream {
  readonly name: string;
  /** Starts a request on a kept-alive connection. */
  request(options: HttpRequestOptions): ClientRequest;
  /** Starts a request on a connection of its own that lets each direction end by itself. */
  upgrade(options: HttpRequestOptions): ClientRequest;
  /** The event of a socket of this upstream that says it is usable. */
  readonly connectEvent: "connect" | "secureConnect";
}

/** TCP and TLS to an upstream; after that the next one is tried. */
export const connectTimeoutMs = 3_000;
/** An idle connection is closed after this long, or sooner where the upstream announces its own time. */
const idleMs = 60_000;
const agentOptions = { keepAlive: true, maxFreeSockets: 256, scheduling: "lifo", timeout: idleMs } as const;
/** An upstream that did not connect is tried last for this long. */
const avoidMs = 1_000;

/** The upstreams in the order to try them: the one that worked last first, those that just failed last. */
export class Upstreams {
  readonly #clock: Clock;
  readonly #onFailure: (upstream: string) => void;
  readonly #members: { upstream: Upstream & { close(): void }; avoidUntilMs: number }[];
  #preferred = 0;

  constructor(target: KubeApiTarget, clock: Clock, onFailure: (upstream: string) => void = () => {}) {
    this.#clock = clock;
    this.#onFailure = onFailure;
    const upstreams =
      "socketPath" in target
        ? [unixUpstream(target.socketPath)]
        : target.urls.map((url) => httpsUpstream(url, target.tls));
    if (upstreams.length === 0) {
      throw new KeelsonError("gateway/no-upstream", "no Kubernetes API address given", {
        hint: "name at least one https:// URL",
      });
    }
    this.#members = upstreams.map((upstream) => ({ upstream, avoidUntilMs: 0 }));
  }

  candidates(): Upstream[] {
    const nowMs = this.#clock.monotonic();
    const ring = [...this.#members.slice(this.#preferred), ...this.#members.slice(0, this.#preferred)];
    const usable = ring.filter((member) => member.avoidUntilMs <= nowMs);
    const avoided = ring.filter((member) => member.avoidUntilMs > nowMs);
    return [...usable, ...avoided].map((member) => member.upstream);
  }

  connected(upstream: Upstream): void {
    const index = this.#members.findIndex((member) => member.upstream === upstream);
    if (index < 0) return;
    this.#members[index]!.avoidUntilMs = 0;
    this.#preferred = index;
  }

  failed(upstream: Upstream): void {
    this.#onFailure(upstream.name);
    const member = this.#members.find((candidate) => candidate.upstream === upstream);
    if (member !== undefined) member.avoidUntilMs = this.#clock.monotonic() + avoidMs;
  }

  /** Undefined when some upstream answers at all (its own readiness is its own business), else what is wrong. */
  async problem(): Promise<string | undefined> {
    const problems: string[] = [];
    for (const upstream of this.candidates()) {
      try {
        await answers(upstream);
        return undefined;
      } catch (error) {
        problems.push(`${upstream.name}: ${errorMessage(error)}`);
      }
    }
    return problems.join("; ");
  }

  close(): void {
    for (const { upstream } of this.#members) upstream.close();
  }
}

/** With a user, as all that comes with the front proxy's certificate has one: kube-apiserver logs an error where it has not. */
const livenessHeaders = ["Host", "kubernetes", "X-Remote-User", "system:auth-proxy"];

function answers(upstream: Upstream): Promise<void> {
  return new Promise((resolve, reject) => {
    const outgoing = upstream.request({ method: "GET", path: "/livez", headers: livenessHeaders });
    outgoing.once("error", reject);
    outgoing.once("response", (answer) => {
      answer.resume();
      resolve();
    });
    outgoing.end();
  });
}

function unixUpstream(socketPath: string): Upstream & { close(): void } {
  const agent = new HttpAgent({ ...agentOptions });
  return {
    name: `unix://${socketPath}`,
    connectEvent: "connect",
    request: (options) => httpRequest({ ...options, socketPath, agent, setHost: false }),
    upgrade: (options) =>
      httpRequest({
        ...options,
        setHost: false,
        createConnection: () => netConnect({ path: socketPath, allowHalfOpen: true }),
      }),
    close: () => agent.destroy(),
  };
}

function httpsUpstream(url: string, tls: UpstreamTls | (() => UpstreamTls)): Upstream & { close(): void } {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "https:") {
    throw new KeelsonError("gateway/upstream-scheme", `Kubernetes API address ${url} is not https`, {
      hint: "a front-proxy certificate must never travel in clear; use the https:// address",
    });
  }
  const host = hostname.replace(/^\[|\]$/g, "");
  const address = { host, port: Number(port === "" ? 443 : port) };
  const servername = isIP(host) === 0 ? { servername: host } : {};
  const material = typeof tls === "function" ? tls : () => tls;
  let current: { tls: UpstreamTls; agent: HttpsAgent } | undefined;
  const agentOf = (): HttpsAgent => {
    const latest = material();
    if (current?.tls.cert === latest.cert && current.tls.ca === latest.ca) return current.agent;
    // Requests under way keep the old agent's connections; idle ones go with it.
    current?.agent.destroy();
    const agent = new HttpsAgent({ ...agentOptions, ...tlsOptions(latest), ...servername });
    current = { tls: latest, agent };
    return agent;
  };
  return {
    name: url,
    connectEvent: "secureConnect",
    request: (options) => httpsRequest({ ...options, ...address, agent: agentOf(), setHost: false }),
    upgrade: (options) =>
      httpsRequest({
        ...options,
        setHost: false,
        createConnection: (): Duplex => {
          const connection: ConnectionOptions & { allowHalfOpen: true } = {
            ...address,
            ...tlsOptions(material()),
            ...servername,
            allowHalfOpen: true,
          };
          return tlsConnect(connection);
        },
      }),
    close: () => current?.agent.destroy(),
  };
}

function tlsOptions(tls: UpstreamTls): { ca: string[]; cert: string; key: string } {
  return { ca: typeof tls.ca === "string" ? [tls.ca] : [...tls.ca], cert: tls.cert, key: tls.key };
}

import { randomInt } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createKubeClient, type KubeClient, type KubeClientOptions } from "@keelson/kube-client";
import {
  acceptKey,
  allCapabilities,
  anyCapability,
  capabilityHeader,
  commonCapabilities,
  formatCapabilities,
  parseCapabilities,
  TunnelSession,
} from "@keelson/protocol/tunnel";
import { type Dependencies, errorMessage, type Service } from "@keelson/service";
import { refuseConnect, relayConnect } from "./egress/connect-request.ts";
import { dialDirect } from "./egress/dial-direct.ts";
import { EgressError } from "./egress/egress-error.ts";
import { NodeTable } from "./egress/node-table.ts";
import { leadsToListener } from "./egress/own-listener.ts";
import { type AddressTable, type EgressMode, parseAuthority, type Route, routeOf } from "./egress/route.ts";
import { HubMetrics } from "./hub-metrics.ts";
import { type DialOptions, defaultDialTimeoutMs, NodeDialer } from "./node-dialer.ts";
import { handOverHeader, type ReplicaTls } from "./replicas/hand-over.ts";
import { RedisDirectory, type SharedDirectory } from "./replicas/shared-directory.ts";
import { type DirectoryEntry, SessionDirectory } from "./session-directory.ts";

export interface TunnelHubOptions {
  /** How traffic to nodes travels (agent). */
  mode?: EgressMode;
  /** The Kubernetes API, to learn the addresses of nodes and pods; left out, targets are known by node name only. */
  kubeApi?: KubeClientOptions;
  /** The node that runs beside this server and the address its kubelet listens on. */
  ownNode?: { name: string; bindAddress: string };
  /** Our own listeners: a CONNECT to one of them would lead back here. */
  ownListeners?: () => readonly { host: string; port: number }[];
  /** Where agents reach their kubelet: `127.0.0.1` (default), or `::1` in IPv6 clusters. */
  loopback?: string;
  /** How long a dial may take, in milliseconds (10000). */
  dialTimeoutMs?: number;
  /** Several gateways behind one address: a stream reaches the one that holds the node's session. */
  replicas?: {
    /** `redis://host:6379`: where replicas tell each other which nodes they hold. */
    redisUrl: string;
    /** `host:port` under which other replicas reach this gateway; asked when it is needed. */
    advertise: () => string;
    tls: () => ReplicaTls;
  };
}

/** One session as status shows it. */
export interface HubSession {
  nodeName: string;
  remote: string;
  peer: "keelson" | "k3s";
  ageMs: number;
  streams: number;
  roundTripMs: number | undefined;
  silentMs: number;
  proven: boolean;
  leaving: boolean;
}

/** The gateway's end of all tunnels: sessions of agents in, streams to nodes out. */
export interface TunnelHub extends Service {
  /** An authenticated WebSocket upgrade of `system:node:<nodeName>`. */
  accept(req: IncomingMessage, socket: Duplex, head: Buffer, nodeName: string): void;
  /** An authenticated CONNECT; the target is the request's. */
  connect(req: IncomingMessage, socket: Duplex, head: Buffer): void;
  /** Opens a stream through a node's tunnel, `tcp/host:port`. Rejects with an EgressError. */
  dial(nodeName: string, target: string, options?: DialOptions): Promise<Duplex>;
  sessions(): readonly HubSession[];
  /** Why a node that has no tunnel now lost the last one; undefined when it never had one. */
  lossOf(nodeName: string): string | undefined;
}

export function createTunnelHub(options: TunnelHubOptions, deps: Dependencies): TunnelHub {
  return new SessionHub(options, deps);
}

/** An older session that does not answer a ping in this time is closed; a newer one has taken its place. */
const doubtMs = 5_000;
const noTable: AddressTable = { nodeByName: () => undefined, nodeByIp: () => undefined, nodeOfPodIp: () => undefined };

class SessionHub implements TunnelHub {
  readonly #options: TunnelHubOptions;
  readonly #deps: Dependencies;
  readonly #directory = new SessionDirectory();
  readonly #metrics: HubMetrics;
  readonly #shared: SharedDirectory | undefined;
  readonly #dialer: NodeDialer;
  #kube: KubeClient | undefined;
  #table: NodeTable | undefined;
  #stopping = false;

  constructor(options: TunnelHubOptions, deps: Dependencies) {
    this.#options = options;
    this.#deps = deps;
    const { replicas } = options;
    const shared =
      replicas === undefined
        ? undefined
        : new RedisDirectory(replicas.redisUrl, replicas.advertise, () => this.#directory.nodes, deps);
    this.#shared = shared;
    const directoryUp = shared === undefined ? undefined : () => shared.available;
    this.#metrics = new HubMetrics(deps.registry, () => this.#directory.all(), directoryUp);
    this.#dialer = new NodeDialer({
      directory: this.#directory,
      table: () => this.#table ?? noTable,
      replicas: shared === undefined ? undefined : { shared, tls: replicas!.tls },
      timeoutMs: options.dialTimeoutMs ?? defaultDialTimeoutMs,
      metrics: this.#metrics,
      clock: deps.clock,
    });
  }

  async start(): Promise<void> {
    const { kubeApi, mode = "agent" } = this.#options;
    await this.#shared?.start();
    if (kubeApi === undefined) return;
    this.#kube = createKubeClient({ ...kubeApi, userAgent: "keelson-gateway" });
    this.#table = new NodeTable(this.#kube, mode, this.#deps);
    this.#table.start();
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#table?.stop();
    this.#kube?.close();
    await this.#shared?.stop();
    for (const { session } of this.#directory.all()) session.drain();
    // The Drain frames leave in a microtask of their own; the Close frames must not overtake them.
    await new Promise<void>((resolve) => setImmediate(resolve));
    for (const { session } of [...this.#directory.all()]) session.close("the server is stopping");
  }

  sessions(): readonly HubSession[] {
    const now = this.#deps.clock.monotonic();
    return [...this.#directory.all()].map(({ nodeName, remote, session, openedAtMs }) => {
      const { streams, roundTripMs, silentMs } = session.stats;
      return {
        nodeName,
        remote,
        peer: anyCapability(session.capabilities) ? "keelson" : "k3s",
        ageMs: Math.round(now - openedAtMs),
        streams,
        roundTripMs,
        silentMs: Math.round(silentMs),
        proven: session.proven,
        leaving: session.draining,
      };
    });
  }

  lossOf(nodeName: string): string | undefined {
    return this.#directory.lossOf(nodeName);
  }

  // ---- agents -------------------------------------------------------------------------------------------------------

  accept(req: IncomingMessage, socket: Duplex, head: Buffer, nodeName: string): void {
    if (this.#stopping) return void refuseConnect(socket, 503, "the server is stopping");
    const offer = parseCapabilities(req.headers[capabilityHeader]);
    const capabilities = commonCapabilities(allCapabilities, offer.capabilities);
    const answer = formatCapabilities({ capabilities });
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${acceptKey(req.headers["sec-websocket-key"] ?? "")}\r\n` +
        `${answer === "" ? "" : `X-Tunnel-Caps: ${answer}\r\n`}\r\n`,
    );
    const { clock, log } = this.#deps;
    const session = new TunnelSession({
      role: "server",
      transport: socket,
      head,
      capabilities,
      sessionName: `${nodeName}/${randomInt(2 ** 48 - 1)}`,
      ...(offer.epoch === undefined ? {} : { epoch: offer.epoch }),
      clock,
      onProven: () => this.#onProven(entry),
      onClosed: ({ kind, message, cause }) => {
        if (cause !== undefined) log.error({ err: cause, node: nodeName }, "a tunnel session failed by our own fault");
        if (this.#directory.remove(entry, message)) this.#shared?.publish(nodeName, false);
        this.#metrics.sessionEnded(session.stats);
        log.info({ node: nodeName, remote: entry.remote, why: kind, reason: message }, "tunnel session closed");
      },
    });
    const { remoteAddress, remotePort } = socket as Socket;
    const entry = this.#directory.add({
      nodeName,
      session,
      epoch: offer.epoch,
      remote: `${remoteAddress}:${remotePort}`,
      openedAtMs: clock.monotonic(),
    });
    log.info({ node: nodeName, remote: entry.remote, keelson: anyCapability(capabilities) }, "tunnel session open");
    session.ping();
  }

  /** A session that answered takes over; what it replaces is closed, what may be dead is asked. */
  #onProven(entry: DirectoryEntry): void {
    this.#shared?.publish(entry.nodeName, true);
    const { replaced, doubtful } = this.#directory.olderThan(entry);
    for (const { session } of replaced) {
      this.#metrics.staleRetired();
      session.close("superseded by a newer session of the same agent");
    }
    if (doubtful.length === 0) return;
    for (const { session } of doubtful) session.ping();
    this.#deps.clock.setTimeout(() => {
      for (const { session, nodeName, remote } of doubtful) {
        // An answer to the ping, or anything else heard since, shows that the older one lives: it may stay in reserve.
        if (session.closed || session.stats.silentMs < doubtMs) continue;
        this.#deps.log.info({ node: nodeName, remote }, "retiring a silent tunnel session, a newer one is there");
        this.#metrics.staleRetired();
        session.close("silent, and a newer session is there");
      }
    }, doubtMs);
  }

  // ---- towards nodes ------------------------------------------------------------------------------------------------

  connect(req: IncomingMessage, socket: Duplex, head: Buffer): void {
    const target = parseAuthority(req.url ?? "");
    if (target === undefined) return void refuseConnect(socket, 400, "CONNECT needs host:port");
    // Until the target is reached the client may leave; nobody else would notice.
    const onEarlyError = (): void => {};
    socket.on("error", onEarlyError);
    const handedOver = req.headers[handOverHeader];
    const reached =
      typeof handedOver === "string"
        ? this.#dialer.dial(handedOver, `tcp/${req.url}`, { local: true })
        : this.#reach(target.host, target.port);
    reached.then(
      (stream) => {
        socket.off("error", onEarlyError);
        if (socket.destroyed) return void stream.destroy();
        relayConnect(socket, head, stream);
      },
      (error: unknown) => {
        const status = error instanceof EgressError ? error.status : 500;
        if (status === 500) this.#deps.log.error({ err: error }, "CONNECT failed");
        refuseConnect(socket, status, errorMessage(error));
      },
    );
  }

  async #reach(host: string, port: number): Promise<Duplex> {
    const { mode = "agent", ownNode, loopback = "127.0.0.1", dialTimeoutMs = defaultDialTimeoutMs } = this.#options;
    const table = this.#table ?? noTable;
    const route = routeOf(host, port, { mode, table, ownNode, loopback });
    if (route.via === "none") throw new EgressError(502, route.reason);
    if (route.via === "tunnel" && (route.kubelet || (await this.#dialer.reaches(route.node)))) {
      return this.dial(route.node, `tcp/${route.address}`);
    }
    const direct = directTarget(route);
    const isOwn = new EgressError(403, `${direct.host}:${direct.port} is this server itself`);
    if (this.#isOwnListener(direct.host, direct.port)) throw isOwn;
    const socket = await dialDirect(direct.host, direct.port, dialTimeoutMs, this.#deps.clock);
    // Where a name leads is known only now.
    if (!this.#isOwnListener(socket.remoteAddress ?? "", direct.port)) return socket;
    socket.destroy();
    throw isOwn;
  }

  #isOwnListener(address: string, port: number): boolean {
    const own = this.#options.ownListeners?.() ?? [];
    return own.some((listener) => listener.port === port && leadsToListener(address, listener.host));
  }

  dial(nodeName: string, target: string, options?: DialOptions): Promise<Duplex> {
    return this.#dialer.dial(nodeName, target, options);
  }
}

/** Where a route leads without a tunnel; one to an agent's loopback leads nowhere from here. */
function directTarget(route: Exclude<Route, { via: "none" }>): { host: string; port: number } {
  if (route.via === "direct") return route;
  if (route.kubelet) throw new EgressError(502, "a kubelet is reached through its tunnel only");
  return route.direct;
}

import { createServer as createHttp1Server, type IncomingMessage, type ServerResponse } from "node:http";
import {
  createServer as createHttp2Server,
  type Http2ServerRequest,
  type Http2ServerResponse,
  type ServerHttp2Session,
} from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, type SecureContext, type TLSSocket } from "node:tls";
import type { Clock, Logger } from "@keelson/service";
import { rawResponse } from "../http/status.ts";
import { FrontDoor, type FrontDoorOptions } from "./front-door.ts";
import { contextOptions, type PublicPortTls } from "./tls-context.ts";

/** What a gateway listens with; every limit is per process. */
export interface PublicPortOptions extends FrontDoorOptions {
  /** First byte to last byte of a request's header. */
  headersTimeoutMs: number;
  /** How long a connection may stay without a request. */
  idleTimeoutMs: number;
  maxHeaderBytes: number;
}

export interface PublicPortHandlers {
  request(req: IncomingMessage, res: ServerResponse, peer: TLSSocket): void;
  upgrade(req: IncomingMessage, socket: TLSSocket, head: Buffer): void;
  connect(req: IncomingMessage, socket: TLSSocket, head: Buffer): void;
  /** Before the handshake: a promise holds the connection until the certificate fits its local address. */
  beforeHandshake(localAddress: string): Promise<void> | undefined;
  /** The certificate for a TLS server name; undefined = the one set last. */
  secureContext(serverName: string): Promise<SecureContext | undefined>;
  /** Whether an Upgrade header is to be followed; else the request is served as if it had none. */
  acceptsUpgrade(req: IncomingMessage): boolean;
}

interface Connection {
  socket: TLSSocket;
  /** Requests without a finished response. */
  inFlight: number;
  /** Monotonic time at which the last response was out. */
  idleSinceMs: number;
  /** Carries an upgrade or CONNECT: no longer ours to count requests on. */
  relay: boolean;
  session?: ServerHttp2Session;
  /** An HTTP/2 ping is on its way; a second unanswered one means that the peer is gone. */
  pinged: boolean;
}

/** Go's default, which K3s serves with. */
const maxConcurrentStreams = 250;
/** A silent watch is never timed out; a dead HTTP/2 peer is found by pings. */
const pingIntervalMs = 30_000;
/** What a peer of an idle connection gets to close its side in a drain. */
const farewellMs = 250;

/**
 * The one public port: TCP, then TLS, then HTTP/1.1 or HTTP/2 as ALPN says (no ALPN means HTTP/1.1, as tunnels come).
 *
 * 1. Accept: the peer's count is checked; the first byte decides between TLS and the plain-HTTP answer.
 * 2. Handshake: the listener certificate may first grow by the local address, then by the server name.
 * 3. Requests: counted per connection, so that a drain can close each connection when its last response is out.
 */
export class PublicPort {
  readonly #options: PublicPortOptions;
  readonly #handlers: PublicPortHandlers;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #door: FrontDoor;
  readonly #tls;
  readonly #http1;
  readonly #http2;
  readonly #connections = new Map<Duplex, Connection>();
  readonly #sessions = new WeakMap<object, Connection>();
  readonly #pinger;
  /** The connection whose HTTP/2 session Node is just creating. */
  #starting: Connection | undefined;
  #draining = false;
  #onEmpty: (() => void) | undefined;

  constructor(
    options: PublicPortOptions,
    tls: PublicPortTls,
    handlers: PublicPortHandlers,
    deps: { log: Logger; clock: Clock },
  ) {
    this.#options = options;
    this.#handlers = handlers;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#door = new FrontDoor(
      options,
      {
        beforeHandshake: (localAddress) => handlers.beforeHandshake(localAddress),
        handshake: (socket) => void this.#tls.emit("connection", socket),
        closed: () => this.#checkEmpty(),
      },
      deps,
    );
    this.#tls = createTlsServer({
      ...contextOptions(tls),
      requestCert: true,
      rejectUnauthorized: false,
      ALPNProtocols: ["h2", "http/1.1"],
      handshakeTimeout: options.handshakeTimeoutMs,
      SNICallback: (name, done) => {
        handlers.secureContext(name).then(
          (context) => done(null, context ?? undefined),
          (error: unknown) => done(error instanceof Error ? error : new Error(String(error))),
        );
      },
    });
    this.#tls.on("secureConnection", (socket) => this.#secured(socket));
    this.#tls.on("tlsClientError", (error, socket) => {
      this.#log.debug({ err: error, peer: socket.remoteAddress }, "TLS handshake failed");
      // Node only reports a handshake that took too long.
      socket.destroy();
    });
    this.#http1 = createHttp1Server({
      headersTimeout: options.headersTimeoutMs,
      connectionsCheckingInterval: Math.max(100, Math.min(5_000, options.headersTimeoutMs / 2)),
      // A watch or an upload may last for ever; bodies have limits of their own.
      requestTimeout: 0,
      keepAliveTimeout: options.idleTimeoutMs,
      maxHeaderSize: options.maxHeaderBytes,
      // Any other protocol in an Upgrade header is an offer a server may ignore (RFC 9110, 7.8), such as h2c.
      shouldUpgradeCallback: (req) => /websocket|spdy/i.test(req.headers.upgrade ?? "") && handlers.acceptsUpgrade(req),
    });
    // Starts the header timeout, which Node otherwise starts in listen().
    this.#http1.emit("listening");
    this.#http1.on("request", (req: IncomingMessage, res: ServerResponse) => {
      this.#request(this.#connections.get(req.socket), req, res);
    });
    this.#http1.on("upgrade", (req: IncomingMessage, socket: Duplex, head: Buffer) => {
      handlers.upgrade(req, this.#relay(socket), head);
    });
    this.#http1.on("connect", (req: IncomingMessage, socket: Duplex, head: Buffer) => {
      handlers.connect(req, this.#relay(socket), head);
    });
    this.#http1.on("clientError", (error: NodeJS.ErrnoException, socket) => answerClientError(error, socket));
    this.#http2 = createHttp2Server({
      settings: { maxConcurrentStreams, maxHeaderListSize: options.maxHeaderBytes },
      maxSessionMemory: 10,
    });
    this.#http2.on("session", (session) => this.#session(session));
    this.#http2.on("sessionError", (error) => this.#log.debug({ err: error }, "HTTP/2 session failed"));
    // The compatibility API of node:http2 has the shape of node:http in all that handlers use.
    this.#http2.on("request", (req: Http2ServerRequest, res: Http2ServerResponse) => {
      const connection = this.#sessions.get(req.stream.session ?? res);
      this.#request(connection, req as unknown as IncomingMessage, res as unknown as ServerResponse);
    });
    this.#pinger = deps.clock.setInterval(() => this.#pingSessions(), pingIntervalMs);
  }

  /** Address after {@link listen}. */
  get address(): AddressInfo {
    return this.#door.address;
  }

  get connectionCount(): number {
    return this.#door.size;
  }

  listen(): Promise<void> {
    return this.#door.listen();
  }

  /** New connections get this certificate; established ones keep theirs. */
  setTls(tls: PublicPortTls): void {
    this.#tls.setSecureContext(contextOptions(tls));
  }

  /**
   * Takes no more connections, says goodbye on every open one (GOAWAY, `Connection: close`) and resolves when all
   * responses are out or `timeoutMs` has passed; what is left is then cut.
   */
  async drain(timeoutMs: number): Promise<void> {
    this.#draining = true;
    this.#pinger.cancel();
    const closed = this.#door.close();
    const empty = new Promise<void>((resolve) => {
      this.#onEmpty = resolve;
    });
    for (const connection of this.#connections.values()) this.#farewell(connection);
    this.#checkEmpty();
    const deadline = Promise.withResolvers<void>();
    const timer = this.#clock.setTimeout(deadline.resolve, timeoutMs);
    await Promise.race([empty, deadline.promise]);
    timer.cancel();
    this.#door.cut();
    this.#http1.close();
    await closed;
  }

  #secured(socket: TLSSocket): void {
    const raw = rawSocketOf(socket);
    if (raw !== undefined) this.#door.handshaken(raw);
    // Only now: whoever hangs up during the handshake is gone, but a relayed stream ends one direction at a time.
    socket.allowHalfOpen = true;
    const idleSinceMs = this.#clock.monotonic();
    const connection: Connection = { socket, inFlight: 0, idleSinceMs, relay: false, pinged: false };
    this.#connections.set(socket, connection);
    socket.once("close", () => this.#connections.delete(socket));
    socket.on("error", (error) => this.#log.trace({ err: error }, "connection failed"));
    if (this.#draining) return void this.#farewell(connection);
    if (socket.alpnProtocol !== "h2") {
      this.#http1.emit("connection", socket);
      return;
    }
    this.#starting = connection;
    this.#http2.emit("connection", socket);
    this.#starting = undefined;
  }

  #session(session: ServerHttp2Session): void {
    session.on("error", (error) => this.#log.trace({ err: error }, "HTTP/2 session failed"));
    const connection = this.#starting;
    if (connection === undefined) return void session.destroy();
    connection.session = session;
    // HTTP/2 ends its streams by itself: who ends the connection, and be it in one direction, is gone.
    connection.socket.once("end", () => session.destroy());
    this.#sessions.set(session, connection);
    if (this.#draining) session.close();
  }

  #request(connection: Connection | undefined, req: IncomingMessage, res: ServerResponse): void {
    if (connection === undefined) return void res.destroy();
    connection.inFlight++;
    res.once("close", () => {
      connection.inFlight--;
      connection.idleSinceMs = this.#clock.monotonic();
      if (this.#draining) this.#farewell(connection);
    });
    if (this.#draining && connection.session === undefined) res.setHeader("Connection", "close");
    this.#handlers.request(req, res, connection.socket);
  }

  #relay(socket: Duplex): TLSSocket {
    const connection = this.#connections.get(socket);
    if (connection !== undefined) connection.relay = true;
    return socket as TLSSocket;
  }

  #farewell(connection: Connection): void {
    if (connection.session !== undefined) {
      if (!connection.session.closed && !connection.session.destroyed) connection.session.close();
      return;
    }
    if (connection.inFlight > 0 || connection.relay) return;
    connection.socket.end();
    this.#clock.setTimeout(() => connection.socket.destroy(), farewellMs);
  }

  #checkEmpty(): void {
    if (this.#draining && this.#door.size === 0) this.#onEmpty?.();
  }

  #pingSessions(): void {
    const nowMs = this.#clock.monotonic();
    for (const connection of this.#connections.values()) {
      const { session } = connection;
      if (session === undefined || session.destroyed) continue;
      if (connection.pinged) {
        session.destroy();
      } else if (connection.inFlight === 0 && nowMs - connection.idleSinceMs > this.#options.idleTimeoutMs) {
        session.close();
      } else {
        connection.pinged = true;
        session.ping(() => {
          connection.pinged = false;
        });
      }
    }
  }
}

/** The TCP socket below a server-side TLS socket; Node keeps it as `_parent`. */
function rawSocketOf(socket: TLSSocket): Socket | undefined {
  return (socket as unknown as { _parent?: Socket })._parent;
}

/** Malformed, oversize or unfinished requests end here; nothing behind this port ever sees them. */
function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === "ECONNRESET") return void socket.destroy();
  const code = error.code === "HPE_HEADER_OVERFLOW" ? 431 : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? 408 : 400;
  const text =
    code === 431 ? "431 Request Header Fields Too Large" : code === 408 ? "408 Request Timeout" : "400 Bad Request";
  socket.end(rawResponse(code, "text/plain; charset=utf-8", text));
}

import { chmod, lstat, rm } from "node:fs/promises";
import { createServer as createHttpServer, type Server as HttpServer } from "node:http";
import { type AddressInfo, createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from "node:tls";
import { errorCode, KeelsonError, type Logger } from "@keelson/service";
import type { HttpExchange } from "../gateway/http-exchange.ts";
import { Http1Exchange } from "../gateway/http1-exchange.ts";
import { Http2Exchange } from "../gateway/http2-exchange.ts";
import { Http2Connection } from "../http2/connection.ts";
import { clientPreface } from "../http2/frame.ts";
import { type GrpcServer, isGrpc } from "./grpc-server.ts";
import { parseListenUrl } from "./listen-url.ts";
import { type ListenTlsFiles, TlsRenewal } from "./tls-renewal.ts";

/**
 * Where to listen: `http://host:port`, `https://host:port` (with tls), both without a host for all interfaces, or
 * `unix://path`. Port 0 takes a free one.
 */
export interface ListenOptions {
  url: string;
  tls?: ListenTls;
  /** Where `tls` was read from, if new connections are to be served what these files come to hold. */
  tlsFiles?: ListenTlsFiles;
}

export interface ListenTls {
  /** PEM. */
  cert: string;
  key: string;
  /** PEM of the authorities whose client certificates are required; without it any client may connect. */
  clientCa?: string;
}

/** A client must say its first bytes within this time. */
const firstBytesTimeoutMs = 30_000;
/** Within which a client must have said its whole HTTP/1 request: it costs a connection until then. */
export interface RequestTimeouts {
  headersMs: number;
  requestMs: number;
  /** How often connections are looked at. */
  checkMs: number;
}

const defaultTimeouts: RequestTimeouts = { headersMs: 60_000, requestMs: 300_000, checkMs: 15_000 };
/** A connection that is silent for this long is asked for a sign of life, and closed if none comes in as much time. */
const silenceMs = 60_000;

/** One open port: gRPC over HTTP/2, the JSON gateway and the rest over HTTP/1.1 or 2, told apart by ALPN or by the first bytes. */
export class Listener {
  readonly #options: ListenOptions;
  readonly #grpc: GrpcServer;
  readonly #http: HttpServer;
  readonly #onHttp: (exchange: HttpExchange) => void;
  readonly #log: Logger;
  #server: NetServer | undefined;
  #tlsServer: TlsServer | undefined;
  readonly #sockets = new Set<Socket>();
  /** Frames each connection had received when it was last looked at. */
  readonly #connections = new Map<Http2Connection, { frames: number; asked: boolean }>();
  #silenceTimer: NodeJS.Timeout | undefined;

  constructor(
    options: ListenOptions,
    grpc: GrpcServer,
    onHttp: (exchange: HttpExchange) => void,
    log: Logger,
    { headersMs, requestMs, checkMs }: RequestTimeouts = defaultTimeouts,
  ) {
    this.#options = options;
    this.#grpc = grpc;
    this.#onHttp = onHttp;
    this.#log = log;
    this.#http = createHttpServer(
      { headersTimeout: headersMs, requestTimeout: requestMs, connectionsCheckingInterval: checkMs },
      (request, response) => onHttp(new Http1Exchange(request, response)),
    );
  }

  /** Starts listening; resolves with the actual URL. */
  async start(): Promise<string> {
    this.#silenceTimer = setInterval(() => this.#checkSilence(), silenceMs);
    this.#silenceTimer.unref();
    // It is given its connections and never listens itself, which is when it would begin to look at their time-outs.
    this.#http.emit("listening");
    const target = parseListenUrl(this.#options.url);
    if ("path" in target) {
      await this.#listenUnix(target.path);
      return this.#options.url;
    }
    const { secure, host, port } = target;
    await this.#listen(
      secure ? this.#secureServer() : this.#plainServer(),
      host === undefined ? { port } : { host, port },
    );
    const bound = this.#server!.address() as AddressInfo;
    const name = host ?? bound.address;
    return `${secure ? "https" : "http"}://${name.includes(":") ? `[${name}]` : name}:${bound.port}`;
  }

  /** Serves new connections with another certificate. */
  updateTls(tls: ListenTls): void {
    this.#tlsServer?.setSecureContext(tlsContext(tls));
  }

  async stop(): Promise<void> {
    clearInterval(this.#silenceTimer);
    this.#http.close();
    const server = this.#server;
    if (server === undefined) return;
    this.#server = undefined;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const connection of this.#connections.keys()) connection.destroy();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #listenUnix(path: string): Promise<void> {
    await removeSocket(path, this.#options.url);
    // The socket must never exist with wider permissions than its owner's.
    const before = process.umask(0o177);
    try {
      await this.#listen(this.#plainServer(), { path });
    } finally {
      process.umask(before);
    }
    await chmod(path, 0o600);
  }

  #plainServer(): NetServer {
    return createNetServer({ noDelay: true, keepAlive: true, keepAliveInitialDelay: silenceMs }, (socket) => {
      this.#track(socket);
      socket.setTimeout(firstBytesTimeoutMs, () => socket.destroy());
      socket.once("readable", () => {
        const first = socket.read() as Buffer | null;
        if (first === null) return;
        socket.setTimeout(0);
        socket.removeAllListeners("timeout");
        const isHttp2 = clientPreface.subarray(0, first.length).equals(first.subarray(0, clientPreface.length));
        socket.unshift(first);
        if (isHttp2) this.#serveHttp2(socket);
        else this.#http.emit("connection", socket);
      });
    });
  }

  #secureServer(): NetServer {
    const { tls, tlsFiles, url } = this.#options;
    if (tls === undefined) {
      throw new KeelsonError("datastore/listen-tls", `${url} needs a certificate and a key`, {
        hint: "give --server-cert-file and --server-key-file, or listen on http://",
      });
    }
    const server = createTlsServer({
      ...tlsContext(tls),
      ...(tls.clientCa === undefined ? {} : { requestCert: true, rejectUnauthorized: true }),
      ALPNProtocols: ["h2", "http/1.1"],
      handshakeTimeout: firstBytesTimeoutMs,
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: silenceMs,
    });
    server.on("connection", (socket) => this.#track(socket));
    if (tlsFiles !== undefined) {
      const renewal = new TlsRenewal(tlsFiles, this.#log);
      // Before the server's own listener, which begins the handshake.
      server.prependListener("connection", () => renewal.check((renewed) => this.updateTls(renewed)));
    }
    server.on("secureConnection", (socket: TLSSocket) => {
      this.#track(socket);
      if (socket.alpnProtocol === "h2") this.#serveHttp2(socket);
      else this.#http.emit("connection", socket);
    });
    server.on("tlsClientError", (_error, socket) => socket.destroy());
    this.#tlsServer = server;
    return server;
  }

  #serveHttp2(socket: Socket): void {
    const connection = new Http2Connection(socket, {
      onRequest: (stream, headers) => {
        if (isGrpc(headers)) this.#grpc.onRequest(stream, headers);
        else this.#onHttp(new Http2Exchange(stream, headers));
      },
      onClosed: () => this.#connections.delete(connection),
    });
    this.#connections.set(connection, { frames: 0, asked: false });
  }

  /** Finds connections whose other end is gone without a word. */
  #checkSilence(): void {
    for (const [connection, seen] of this.#connections) {
      if (connection.receivedFrames !== seen.frames) {
        seen.frames = connection.receivedFrames;
        seen.asked = false;
      } else if (seen.asked) connection.destroy();
      else {
        seen.asked = true;
        connection.ping();
      }
    }
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
  }

  #listen(server: NetServer, where: { host?: string; port: number } | { path: string }): Promise<void> {
    this.#server = server;
    const { url } = this.#options;
    return new Promise((resolve, reject) => {
      server.once("error", (error: NodeJS.ErrnoException) => {
        const hint =
          error.code === "EADDRINUSE"
            ? "another program uses this address; stop it or choose another"
            : "check the address";
        reject(
          new KeelsonError("datastore/listen", `cannot listen on ${url}: ${error.message}`, { hint, cause: error }),
        );
      });
      server.listen(where, resolve);
    });
  }
}

function tlsContext({ cert, key, clientCa }: ListenTls): { cert: string; key: string; ca?: string } {
  return { cert, key, ...(clientCa === undefined ? {} : { ca: clientCa }) };
}

/** Removes a socket that an earlier process left, and nothing else. */
async function removeSocket(path: string, url: string): Promise<void> {
  const found = await lstat(path).catch((error) => {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  });
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new KeelsonError("datastore/listen", `cannot listen on ${url}: there is something that is no socket`, {
      hint: "remove it, or choose another path",
    });
  }
  await rm(path, { force: true });
}

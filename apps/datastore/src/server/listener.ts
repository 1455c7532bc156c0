import { chmod, rm } from "node:fs/promises";
import {
  createServer as createHttp1Server,
  type Server as Http1Server,
  type IncomingMessage,
  type ServerResponse,
} from "node:http";
import {
  createServer as createHttp2Server,
  createSecureServer,
  type Http2Server,
  type ServerHttp2Session,
} from "node:http2";
import { type AddressInfo, createServer as createNetServer, type Server as NetServer, type Socket } from "node:net";
import { KeelsonError } from "@keelson/service";
import type { GrpcServer } from "./http2-grpc.ts";

/** Where to listen: `http://host:port`, `https://host:port` (with tls) or `unix:///path`. Port 0 takes a free one. */
export interface ListenOptions {
  url: string;
  tls?: ListenTls;
}

export interface ListenTls {
  /** PEM. */
  cert: string;
  key: string;
  /** PEM of the authorities whose client certificates are required; without it any client may connect. */
  clientCa?: string;
}

export type HttpHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** A client must say its first bytes within this time. */
const prefaceTimeoutMs = 30_000;
const http2Preface = Buffer.from("PRI * HTTP/2");
const sessionSettings = { settings: { maxConcurrentStreams: 0xffff_ffff, initialWindowSize: 1 << 20 } };

/** One open port: gRPC over HTTP/2 and the JSON gateway over HTTP/1.1, told apart by the first bytes or by ALPN. */
export class Listener {
  readonly #options: ListenOptions;
  readonly #grpc: GrpcServer;
  readonly #onHttp: HttpHandler;
  #server: NetServer | Http2Server | undefined;
  #http1: Http1Server | undefined;
  #http2: Http2Server | undefined;
  readonly #sockets = new Set<Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor(options: ListenOptions, grpc: GrpcServer, onHttp: HttpHandler) {
    this.#options = options;
    this.#grpc = grpc;
    this.#onHttp = onHttp;
  }

  /** Starts listening; resolves with the actual URL. */
  async start(): Promise<string> {
    const url = new URL(this.#options.url);
    if (url.protocol === "unix:") {
      await this.#listenUnix(url.pathname);
      return this.#options.url;
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") throw unknownScheme(this.#options.url);
    const server = url.protocol === "https:" ? this.#secureServer() : this.#plainServer();
    await listen(
      server,
      { host: url.hostname.replace(/^\[|\]$/g, ""), port: Number(url.port || 2379) },
      this.#options.url,
    );
    const { port } = server.address() as AddressInfo;
    return `${url.protocol}//${url.hostname}:${port}`;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const session of this.#sessions) session.destroy();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  async #listenUnix(path: string): Promise<void> {
    await rm(path, { force: true });
    // Only the owner may connect: the socket must never exist with wider permissions.
    const before = process.umask(0o177);
    try {
      await listen(this.#plainServer(), { path }, this.#options.url);
    } finally {
      process.umask(before);
    }
    await chmod(path, 0o600);
  }

  #plainServer(): NetServer {
    this.#http1 = createHttp1Server(this.#onHttp);
    this.#http2 = createHttp2Server(sessionSettings);
    this.#watchSessions(this.#http2);
    const server = createNetServer({ noDelay: true }, (socket) => {
      this.#track(socket);
      socket.setTimeout(prefaceTimeoutMs, () => socket.destroy());
      socket.once("data", (first: Buffer) => {
        socket.setTimeout(0);
        socket.removeAllListeners("timeout");
        socket.pause();
        const isHttp2 = first.subarray(0, http2Preface.length).equals(http2Preface.subarray(0, first.length));
        socket.unshift(first);
        (isHttp2 ? this.#http2 : this.#http1)!.emit("connection", socket);
        process.nextTick(() => socket.resume());
      });
    });
    this.#server = server;
    return server;
  }

  #secureServer(): Http2Server {
    const { tls } = this.#options;
    if (tls === undefined) {
      throw new KeelsonError("datastore/listen-tls", `${this.#options.url} needs a certificate and a key`, {
        hint: "give --server-cert-file and --server-key-file, or listen on http://",
      });
    }
    const server = createSecureServer(
      {
        cert: tls.cert,
        key: tls.key,
        ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
        allowHTTP1: true,
        ...sessionSettings,
      },
      (request, response) => {
        // With HTTP/2 the stream handler has the request already.
        if (request.httpVersionMajor === 1) {
          this.#onHttp(request as unknown as IncomingMessage, response as unknown as ServerResponse);
        }
      },
    );
    this.#watchSessions(server);
    server.on("secureConnection", (socket) => this.#track(socket));
    this.#server = server;
    return server;
  }

  #watchSessions(server: Http2Server): void {
    server.on("stream", this.#grpc.onStream);
    server.on("sessionError", () => {});
    server.on("session", (session) => {
      this.#sessions.add(session);
      session.on("error", () => session.destroy());
      session.on("close", () => this.#sessions.delete(session));
    });
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => this.#sockets.delete(socket));
  }
}

function listen(
  server: NetServer | Http2Server,
  where: { host: string; port: number } | { path: string },
  url: string,
): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const hint =
        error.code === "EADDRINUSE"
          ? "another program uses this address; stop it or choose another"
          : "check the address";
      reject(new KeelsonError("datastore/listen", `cannot listen on ${url}: ${error.message}`, { hint, cause: error }));
    });
    server.listen(where, resolve);
  });
}

function unknownScheme(url: string): KeelsonError {
  return new KeelsonError("datastore/listen", `cannot listen on ${url}`, {
    hint: "use http://host:port, https://host:port or unix:///path",
  });
}

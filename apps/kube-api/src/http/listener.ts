import { chmod, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Service } from "@keelson/service";

/** Where the API listens: a Unix socket whose peer is trusted, or TLS with client certificates. */
export type ListenTarget = { socketPath: string } | { host: string; port: number; tls: ListenTls };

/** PEM: the serving certificate, its key, and the CAs whose names clients are told. */
export interface ListenTls {
  cert: string;
  key: string;
  ca: string;
}

export interface ListenerHandlers {
  request(request: IncomingMessage, response: ServerResponse, isTrusted: boolean): void;
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, isTrusted: boolean): void;
}

/** One listening socket of the API. */
export class Listener implements Service {
  readonly #target: ListenTarget;
  readonly #server: Server | TlsServer;
  /** Every TCP connection, also those still shaking hands or upgraded, which the server does not end by itself. */
  readonly #sockets = new Set<Socket>();

  constructor(target: ListenTarget, handlers: ListenerHandlers) {
    this.#target = target;
    const isTrusted = "socketPath" in target;
    // An upgraded connection may finish in one direction first; plain HTTP ends both by itself.
    const limits = {
      allowHalfOpen: true,
      keepAliveTimeout: 120_000,
      headersTimeout: 20_000,
      requestTimeout: 0,
      maxHeaderSize: 65_536,
    };
    this.#server = isTrusted
      ? createServer(limits)
      : createTlsServer({
          ...limits,
          ...target.tls,
          requestCert: true,
          rejectUnauthorized: false,
          ALPNProtocols: ["http/1.1"],
          handshakeTimeout: 20_000,
        });
    this.#server.on("connection", (socket: Socket) => {
      this.#sockets.add(socket);
      socket.once("close", () => this.#sockets.delete(socket));
    });
    this.#server.on("request", (request: IncomingMessage, response: ServerResponse) =>
      handlers.request(request, response, isTrusted),
    );
    this.#server.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) =>
      handlers.upgrade(request, socket, head, isTrusted),
    );
    this.#server.on("clientError", (_error, socket: Duplex) => {
      if (socket.writable) socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
      else socket.destroy();
    });
    // A broken handshake is that client's problem alone.
    this.#server.on("tlsClientError", (_error, socket) => socket.destroy());
  }

  /** New connections get this certificate and are asked for one of these CAs; nothing changes on a Unix socket. */
  setTls(tls: ListenTls): void {
    if ("setSecureContext" in this.#server) this.#server.setSecureContext(tls);
  }

  get address(): AddressInfo | string | null {
    return this.#server.address();
  }

  async start(): Promise<void> {
    const target = this.#target;
    if ("socketPath" in target) await rm(target.socketPath, { force: true });
    await new Promise<void>((resolve, reject) => {
      this.#server.once("error", reject);
      const done = (): void => {
        this.#server.off("error", reject);
        resolve();
      };
      if ("socketPath" in target) this.#server.listen(target.socketPath, done);
      else this.#server.listen(target.port, target.host, done);
    });
    if ("socketPath" in target) await chmod(target.socketPath, 0o600);
  }

  stop(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
      for (const socket of this.#sockets) socket.destroy();
    });
  }
}

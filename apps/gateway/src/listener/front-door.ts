import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import type { Clock, Logger } from "@keelson/service";
import { AddressCounter } from "../limits/address-counter.ts";
import { HandshakeQueue } from "./handshake-queue.ts";
import { readInSmallPieces } from "./small-reads.ts";

export interface FrontDoorOptions {
  host: string;
  port: number;
  /** Connections one peer address may hold; 0 = no limit. Peers behind one balancer share its address. */
  connectionsPerAddress: number;
  /** Connections one peer address may hold before its first TLS handshake is through; 0 = no limit. */
  handshakesPerAddress: number;
  /** TCP accept to the first byte, and then to the end of the TLS handshake. */
  handshakeTimeoutMs: number;
}

export interface FrontDoorHandlers {
  /** Before the handshake: a promise holds the connection until the certificate fits its local address. */
  beforeHandshake(localAddress: string): Promise<void> | undefined;
  /** A connection that speaks TLS; its first bytes are still to be read. */
  handshake(socket: Socket): void;
  /** A connection is closed, whatever it was. */
  closed(): void;
}

/** The recorded answer of stock K3s to plain HTTP: HTTP/1.0, without any header. */
const plainHttpAnswer = "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
const tlsHandshakeRecord = 0x16;
/** A silent watch is never timed out; dead peers are found by TCP keep-alive instead. */
const keepAliveDelayMs = 15_000;
/** A whole cluster may knock at once; the kernel caps it at net.core.somaxconn. */
const backlog = 4_096;

/** Accepts TCP connections, counts them per address, and tells TLS from plain HTTP by the first byte. */
export class FrontDoor {
  readonly #options: FrontDoorOptions;
  readonly #handlers: FrontDoorHandlers;
  readonly #log: Logger;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #handshakes: HandshakeQueue;
  /** What to do when a connection's handshake is over. */
  readonly #handshaking = new WeakMap<Socket, () => void>();
  readonly #perAddress: AddressCounter;
  readonly #handshakesPerAddress: AddressCounter;
  #address: AddressInfo | undefined;

  constructor(options: FrontDoorOptions, handlers: FrontDoorHandlers, deps: { log: Logger; clock: Clock }) {
    this.#options = options;
    this.#handlers = handlers;
    this.#log = deps.log;
    this.#handshakes = new HandshakeQueue(deps.clock);
    this.#perAddress = new AddressCounter(options.connectionsPerAddress);
    this.#handshakesPerAddress = new AddressCounter(options.handshakesPerAddress);
    const tcp = { noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveDelayMs };
    this.#server = createServer(tcp, (socket) => this.#accept(socket));
  }

  /** Where it listens; known after {@link listen}, and still when it takes no more connections. */
  get address(): AddressInfo {
    if (this.#address === undefined) throw new Error("the public port does not listen yet");
    return this.#address;
  }

  get size(): number {
    return this.#sockets.size;
  }

  listen(): Promise<void> {
    const { host, port } = this.#options;
    return new Promise((resolve, reject) => {
      this.#server.once("error", reject);
      this.#server.listen({ host, port, backlog }, () => {
        this.#server.off("error", reject);
        this.#address = this.#server.address() as AddressInfo;
        this.#server.on("error", (error) => this.#log.error({ err: error }, "public port failed"));
        resolve();
      });
    });
  }

  /** Takes no more connections; resolves when the last one is closed. */
  close(): Promise<void> {
    return new Promise((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  /** Cuts every connection that is still open. */
  cut(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  /** The handshake of this connection is through. */
  handshaken(socket: Socket): void {
    this.#handshaking.get(socket)?.();
  }

  #accept(socket: Socket): void {
    const address = socket.remoteAddress ?? "";
    const release = this.#perAddress.take(address);
    const handshaken = release === undefined ? undefined : this.#handshakesPerAddress.take(address);
    if (release === undefined || handshaken === undefined) {
      release?.();
      this.#log.debug({ peer: address }, "connection refused: the address holds too many");
      socket.resetAndDestroy();
      return;
    }
    this.#sockets.add(socket);
    this.#handshaking.set(socket, handshaken);
    socket.on("error", (error) => this.#log.trace({ err: error, peer: address }, "connection failed"));
    socket.once("close", () => {
      release();
      this.handshaken(socket);
      this.#sockets.delete(socket);
      this.#handlers.closed();
    });
    socket.setTimeout(this.#options.handshakeTimeoutMs, () => socket.destroy());
    socket.once("data", (first: Buffer) => this.#judge(socket, first, handshaken));
  }

  #judge(socket: Socket, first: Buffer, handshaken: () => void): void {
    socket.pause();
    socket.setTimeout(0);
    socket.removeAllListeners("timeout");
    if (first[0] !== tlsHandshakeRecord) return void refusePlain(socket);
    socket.unshift(first);
    readInSmallPieces(socket);
    const enqueue = (): void => {
      if (socket.destroyed) return;
      const over = this.#handshakes.push(() => {
        if (!socket.destroyed) this.#handlers.handshake(socket);
      });
      this.#handshaking.set(socket, () => {
        over();
        handshaken();
      });
    };
    const ready = this.#handlers.beforeHandshake(localAddressOf(socket));
    if (ready === undefined) enqueue();
    else void ready.finally(enqueue);
  }
}

function localAddressOf(socket: Socket): string {
  const address = socket.localAddress ?? "";
  return address.startsWith("::ffff:") ? address.slice(7) : address;
}

function refusePlain(socket: Socket): void {
  socket.end(plainHttpAnswer);
  socket.resume();
  socket.setTimeout(1_000, () => socket.destroy());
}

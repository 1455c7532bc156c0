import type { Duplex } from "node:stream";
import { decodeFrame } from "../../src/tunnel/frame.ts";
import { encodeFrame, noCapabilities, TunnelSession, type TunnelSessionOptions } from "../../src/tunnel/index.ts";
import { opcodes, WebSocketReader, writeWebSocketHeader } from "../../src/tunnel/websocket.ts";
import { realClock, socketPair } from "./pair.ts";

/** What crossed the wire, in words: `Data 2 "hi"`, `Error 2 "EOF"`, `close 1002 …`. */
export type Seen = string;

const typeNames = ["", "Data", "Connect", "Error", "AddClient", "RemoveClient", "Pause", "Resume", "Sync"];

/**
 * A session under test with a bare socket at its other end: the test plays the peer by hand, frame by frame, and reads
 * what the session answers.
 */
export class Wire {
  readonly session: TunnelSession;
  readonly socket: Duplex;
  readonly seen: Seen[] = [];
  /** Resolves when the session's side has closed the connection. */
  readonly closed: Promise<void>;
  readonly #peerRole: "client" | "server";
  #messageId = 0;

  private constructor(session: TunnelSession, socket: Duplex, role: "client" | "server") {
    this.session = session;
    this.socket = socket;
    this.#peerRole = role === "client" ? "server" : "client";
    const parts: Buffer[] = [];
    const reader = new WebSocketReader(this.#peerRole, {
      payload: (piece, last) => {
        parts.push(Buffer.from(piece));
        if (last) this.#saw(Buffer.concat(parts.splice(0)));
      },
      ping: () => {},
      pong: () => {},
      close: (code, reason) => this.seen.push(`close ${code} ${reason}`),
    });
    socket.on("data", (chunk: Buffer) => reader.push(chunk));
    socket.on("error", () => {});
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  static async open(role: "client" | "server", options: Partial<TunnelSessionOptions> = {}): Promise<Wire> {
    const [socket, transport] = await socketPair();
    socket.allowHalfOpen = false;
    const session = new TunnelSession({
      role,
      transport,
      capabilities: noCapabilities,
      sessionName: role === "server" ? "node-a/42" : "client/0",
      clock: realClock,
      ...options,
    });
    return new Wire(session, socket, role);
  }

  /** Sends a frame as the peer would. */
  send(type: number, connectionId: number, payload: string | Buffer = ""): void {
    this.sendMessage(encodeFrame(++this.#messageId, { type, connectionId, payload: Buffer.from(payload) }));
  }

  /** Sends one WebSocket message with this payload. */
  sendMessage(payload: Buffer, opcode: number = opcodes.binary): void {
    const header = Buffer.alloc(14);
    const length = writeWebSocketHeader(header, 0, opcode, payload.length, this.#peerRole === "client" ? 0 : undefined);
    this.socket.write(Buffer.concat([header.subarray(0, length), payload]));
  }

  #saw(message: Buffer): void {
    const { type, connectionId, payload } = decodeFrame(message);
    const text =
      type >= 6 ? "" : ` ${JSON.stringify(payload.length > 200 ? `${payload.length} bytes` : String(payload))}`;
    this.seen.push(`${typeNames[type] ?? type} ${connectionId}${text}`);
  }
}

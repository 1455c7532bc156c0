import type { Duplex } from "node:stream";
import { maxHeaderLength, writeHeader } from "./frame.ts";
import type { OutgoingFrame } from "./send-queue.ts";
import {
  maxWebSocketHeader,
  opcodes,
  randomMaskKey,
  unmask,
  type WebSocketRole,
  webSocketHeaderLength,
  writeWebSocketHeader,
} from "./websocket.ts";

/** The longest reason that fits into a Close frame, in bytes. */
const maxCloseReason = 123;

/**
 * Puts frames on the wire: one tunnel frame a WebSocket message, header and payload as separate writes. A client masks, as
 * RFC 6455 has it; towards a Keelson server with zeros, which costs nothing and protects as much inside TLS.
 */
export class FrameWriter {
  readonly #transport: Duplex;
  readonly #masking: "none" | "zero" | "random";
  #messageId = 0;
  #bytesOut = 0;
  #pong: Buffer | undefined;

  constructor(transport: Duplex, role: WebSocketRole, peerIsKeelson: boolean) {
    this.#transport = transport;
    disableNagle(transport);
    this.#masking = role === "server" ? "none" : peerIsKeelson ? "zero" : "random";
  }

  get bytesOut(): number {
    return this.#bytesOut;
  }

  tunnelFrame(frame: OutgoingFrame): void {
    const header = Buffer.allocUnsafe(maxWebSocketHeader + maxHeaderLength);
    // The tunnel header first, to know the length of the message; it is moved behind the WebSocket header.
    const tunnelLength = writeHeader(header, maxWebSocketHeader, ++this.#messageId, frame.connectionId, frame.type);
    const length = tunnelLength - maxWebSocketHeader + frame.length;
    const maskKey = this.#maskKey();
    const start = maxWebSocketHeader - webSocketHeaderLength(length, maskKey !== undefined);
    writeWebSocketHeader(header, start, opcodes.binary, length, maskKey);
    this.#bytesOut += length + maxWebSocketHeader - start;
    if (maskKey === undefined || maskKey === 0) {
      this.#transport.write(header.subarray(start, tunnelLength));
      for (const piece of frame.pieces) this.#transport.write(piece);
      return;
    }
    const whole = Buffer.concat([header.subarray(start, tunnelLength), ...frame.pieces]);
    unmask(whole.subarray(maxWebSocketHeader - start), maskKey, 0);
    this.#transport.write(whole);
  }

  /**
   * A ping came. Only the latest is answered (RFC 6455, section 5.5.3), once the socket takes something: a peer that sends
   * pings and reads nothing costs one pong.
   */
  owePong(payload: Buffer): void {
    this.#pong = Buffer.from(payload);
  }

  /** Answers the latest ping, if it has not been. */
  payPong(): void {
    if (this.#pong === undefined) return;
    this.controlFrame(opcodes.pong, this.#pong);
    this.#pong = undefined;
  }

  /** Ping, pong and close do not wait for the queue. */
  controlFrame(opcode: number, payload: Buffer): void {
    if (this.#transport.destroyed || this.#transport.writableEnded) return;
    const maskKey = this.#maskKey();
    const frame = Buffer.alloc(maxWebSocketHeader + payload.length);
    const at = writeWebSocketHeader(frame, 0, opcode, payload.length, maskKey);
    payload.copy(frame, at);
    if (maskKey !== undefined && maskKey !== 0) unmask(frame.subarray(at, at + payload.length), maskKey, 0);
    this.#bytesOut += at + payload.length;
    this.#transport.write(frame.subarray(0, at + payload.length));
  }

  closeFrame(code: number, reason: string): void {
    const text = Buffer.from(reason).subarray(0, maxCloseReason);
    const payload = Buffer.allocUnsafe(2 + text.length);
    payload.writeUInt16BE(code, 0);
    text.copy(payload, 2);
    this.controlFrame(opcodes.close, payload);
  }

  #maskKey(): number | undefined {
    if (this.#masking === "none") return undefined;
    return this.#masking === "zero" ? 0 : randomMaskKey();
  }
}

/** Sockets hold small writes back by default; other transports have nothing to turn off. */
function disableNagle(transport: Duplex): void {
  if ("setNoDelay" in transport && typeof transport.setNoDelay === "function") transport.setNoDelay(true);
}

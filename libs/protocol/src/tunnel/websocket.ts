import { createHash, randomFillSync } from "node:crypto";
import { TunnelProtocolError } from "./errors.ts";

/**
 * WebSocket framing (RFC 6455) for exactly what a tunnel needs: binary messages in any fragmentation, ping, pong, close.
 * A reader of its own, because payload bytes then flow to their stream as they arrive: no message is put together first,
 * no byte is copied on the way.
 */

export const opcodes = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

export type WebSocketRole = "client" | "server";

/** Longest message we accept; Go peers send at most 32 KiB. */
const maxMessageBytes = 4 * 1024 * 1024;
const acceptGuid = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/** The Sec-WebSocket-Accept answer to a client's key. */
export function acceptKey(key: string): string {
  return createHash("sha1")
    .update(key + acceptGuid)
    .digest("base64");
}

export interface WebSocketHandlers {
  /** A piece of a binary message, in order; `last` ends the message. Pieces may be empty. */
  payload(piece: Buffer, last: boolean): void;
  ping(payload: Buffer): void;
  pong(): void;
  close(code: number, reason: string): void;
}

/** Incremental reader of one direction. Throws a TunnelProtocolError; after that the connection is of no use. */
export class WebSocketReader {
  readonly #expectMasked: boolean;
  readonly #handlers: WebSocketHandlers;
  /** A frame header that came in parts. */
  #partial: Buffer | undefined;
  #remaining = 0;
  #inFrame = false;
  #opcode = 0;
  #final = false;
  #maskKey = 0;
  #maskOffset = 0;
  #inMessage = false;
  #messageBytes = 0;
  #control: Buffer[] = [];

  constructor(role: WebSocketRole, handlers: WebSocketHandlers) {
    this.#expectMasked = role === "server";
    this.#handlers = handlers;
  }

  push(chunk: Buffer): void {
    let bytes = chunk;
    if (this.#partial !== undefined) {
      bytes = Buffer.concat([this.#partial, chunk]);
      this.#partial = undefined;
    }
    let offset = 0;
    for (;;) {
      if (!this.#inFrame) {
        const headerLength = this.#readHeader(bytes, offset);
        if (headerLength === 0) break;
        offset += headerLength;
      }
      const length = Math.min(this.#remaining, bytes.length - offset);
      const piece = bytes.subarray(offset, offset + length);
      offset += length;
      this.#remaining -= length;
      if (this.#maskKey !== 0) this.#maskOffset = unmask(piece, this.#maskKey, this.#maskOffset);
      const frameDone = this.#remaining === 0;
      if (frameDone) this.#inFrame = false;
      this.#deliver(piece, frameDone);
      if (!frameDone) break;
    }
    if (!this.#inFrame && offset < bytes.length) this.#partial = Buffer.from(bytes.subarray(offset));
  }

  /** Reads a frame header; returns its length, or 0 when it is not complete yet. */
  #readHeader(bytes: Buffer, at: number): number {
    const available = bytes.length - at;
    if (available < 2) return 0;
    const first = bytes[at]!;
    const second = bytes[at + 1]!;
    const masked = (second & 0x80) !== 0;
    let length = second & 0x7f;
    let headerLength = 2 + (length === 126 ? 2 : length === 127 ? 8 : 0);
    if (available < headerLength + (masked ? 4 : 0)) {
      this.#checkHeader(first, masked, length);
      return 0;
    }
    this.#checkHeader(first, masked, length);
    if (length === 126) length = bytes.readUInt16BE(at + 2);
    else if (length === 127) length = bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
    this.#maskKey = masked ? bytes.readInt32LE(at + headerLength) : 0;
    this.#maskOffset = 0;
    if (masked) headerLength += 4;

    this.#opcode = first & 0x0f;
    this.#final = (first & 0x80) !== 0;
    if (this.#opcode < opcodes.close) {
      this.#messageBytes = this.#opcode === opcodes.continuation ? this.#messageBytes + length : length;
      if (this.#messageBytes > maxMessageBytes) throw new TunnelProtocolError("message is too long", 1009);
      this.#inMessage = true;
    }
    this.#remaining = length;
    this.#inFrame = true;
    return headerLength;
  }

  #checkHeader(first: number, masked: boolean, length: number): void {
    const opcode = first & 0x0f;
    if ((first & 0x70) !== 0) throw new TunnelProtocolError("websocket: reserved bits are set");
    if (masked !== this.#expectMasked) throw new TunnelProtocolError("websocket: wrong masking");
    if (opcode >= opcodes.close) {
      if (opcode > opcodes.pong) throw new TunnelProtocolError("websocket: unknown opcode");
      if ((first & 0x80) === 0 || length > 125) throw new TunnelProtocolError("websocket: malformed control frame");
    } else if (opcode === opcodes.continuation) {
      if (!this.#inMessage) throw new TunnelProtocolError("websocket: continuation of nothing");
    } else if (opcode === opcodes.binary) {
      if (this.#inMessage) throw new TunnelProtocolError("websocket: message inside a message");
    } else {
      throw new TunnelProtocolError(opcode === opcodes.text ? "text message in a tunnel" : "websocket: unknown opcode");
    }
  }

  #deliver(piece: Buffer, frameDone: boolean): void {
    if (this.#opcode < opcodes.close) {
      const last = frameDone && this.#final;
      if (last) this.#inMessage = false;
      this.#handlers.payload(piece, last);
      return;
    }
    this.#control.push(piece);
    if (!frameDone) return;
    const payload = Buffer.concat(this.#control);
    this.#control = [];
    if (this.#opcode === opcodes.ping) this.#handlers.ping(payload);
    else if (this.#opcode === opcodes.pong) this.#handlers.pong();
    else if (payload.length === 1) throw new TunnelProtocolError("websocket: malformed close frame");
    else if (payload.length === 0) this.#handlers.close(1005, "");
    else this.#handlers.close(payload.readUInt16BE(0), payload.toString("utf8", 2));
  }
}

/** Longest frame header: 2 bytes, 8 of length, 4 of mask. */
export const maxWebSocketHeader = 14;

/**
 * Writes the header of one unfragmented frame; returns the offset behind it. A client must say that it masks; with key 0
 * the payload stays as it is. (Masks protect intermediaries from scripts in a browser, and a tunnel runs inside TLS between
 * two authenticated ends; towards peers that are not Keelson's the key is random all the same.)
 */
export function writeWebSocketHeader(
  bytes: Buffer,
  offset: number,
  opcode: number,
  length: number,
  maskKey: number | undefined,
): number {
  let at = offset;
  bytes[at++] = 0x80 | opcode;
  const maskBit = maskKey === undefined ? 0 : 0x80;
  if (length < 126) {
    bytes[at++] = maskBit | length;
  } else if (length < 65_536) {
    bytes[at++] = maskBit | 126;
    at = bytes.writeUInt16BE(length, at);
  } else {
    bytes[at++] = maskBit | 127;
    at = bytes.writeUInt32BE(Math.floor(length / 2 ** 32), at);
    at = bytes.writeUInt32BE(length % 2 ** 32, at);
  }
  return maskKey === undefined ? at : bytes.writeInt32LE(maskKey, at);
}

const keyPool = new Int32Array(256);
let keysLeft = 0;

/** A fresh random mask key, never 0. */
export function randomMaskKey(): number {
  if (keysLeft === 0) {
    randomFillSync(keyPool);
    keysLeft = keyPool.length;
  }
  return keyPool[--keysLeft]! || 1;
}

/** XORs `bytes` in place with a mask key (little-endian); returns the offset into the key for what follows. */
export function unmask(bytes: Buffer, key: number, keyOffset: number): number {
  let at = 0;
  let shift = keyOffset;
  const end = bytes.length;
  while (at < end && ((bytes.byteOffset + at) & 3) !== 0) bytes[at++]! ^= key >>> (8 * (shift++ & 3));
  const words = (end - at) >>> 2;
  if (words > 0) {
    const turn = 8 * (shift & 3);
    const word = turn === 0 ? key : (key >>> turn) | (key << (32 - turn));
    const view = new Int32Array(bytes.buffer, bytes.byteOffset + at, words);
    for (let index = 0; index < words; index++) view[index]! ^= word;
    at += words * 4;
  }
  while (at < end) bytes[at++]! ^= key >>> (8 * (shift++ & 3));
  return shift & 3;
}

/** Bytes of a frame's header for a payload of `length` bytes. */
export function webSocketHeaderLength(length: number, masked: boolean): number {
  return 2 + (length < 126 ? 0 : length < 65_536 ? 2 : 8) + (masked ? 4 : 0);
}

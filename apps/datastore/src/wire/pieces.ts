import { varintSize, writeVarint } from "../engine/key-value-bytes.ts";

/** A piece of a response whose size is known before it is written. */
export interface Piece {
  size: number;
  write(target: Buffer, at: number): number;
}

export const nothing: Piece = { size: 0, write: (_target, at) => at };

/** Pieces one after another. */
export function join(pieces: Piece[]): Piece {
  let size = 0;
  for (const piece of pieces) size += piece.size;
  return {
    size,
    write(target, at) {
      for (const piece of pieces) at = piece.write(target, at);
      return at;
    },
  };
}

/** A varint field; tags are one byte, wire type included. */
export function numberField(tag: number, value: number): Piece {
  return {
    size: 1 + varintSize(value),
    write(target, at) {
      target[at++] = tag;
      return writeVarint(target, at, value);
    },
  };
}

export function bytesField(tag: number, bytes: Buffer): Piece {
  return {
    size: 1 + varintSize(bytes.length) + bytes.length,
    write: (target, at) => writeBytes(target, at, tag, bytes),
  };
}

export function messageField(tag: number, message: Piece): Piece {
  return {
    size: 1 + varintSize(message.size) + message.size,
    write(target, at) {
      target[at++] = tag;
      return message.write(target, writeVarint(target, at, message.size));
    },
  };
}

/** Writes a length-delimited field at once; returns where it ends. */
export function writeBytes(target: Buffer, at: number, tag: number, bytes: Buffer): number {
  target[at++] = tag;
  at = writeVarint(target, at, bytes.length);
  target.set(bytes, at);
  return at + bytes.length;
}

import { TunnelProtocolError } from "./errors.ts";

/**
 * Zig-zag varints as Go's encoding/binary writes them: `(n << 1) XOR (n >> 63)` as unsigned LEB128, at most ten bytes.
 * Values are numbers: everything but the message id (which no receiver compares) is far below 2^53.
 */

const maxBytes = 10;

/** Where a read left off, and what it read; one object is reused so that the hot path allocates nothing. */
export interface VarintCursor {
  offset: number;
  value: number;
}

/**
 * Reads one varint at `cursor.offset` and moves it on. Returns false when the bytes end too early, throws when the varint
 * overflows 64 bits. Beyond 2^53 the value is only approximate; the caller refuses what it cannot use.
 */
export function readVarint(bytes: Uint8Array, cursor: VarintCursor): boolean {
  let low = 0; // first four groups, 28 bits
  let high = 0; // the rest
  let scale = 1;
  for (let index = 0; index < maxBytes; index++) {
    const byte = bytes[cursor.offset + index];
    if (byte === undefined) return false;
    if (index === maxBytes - 1 && byte > 1) throw new TunnelProtocolError("varint overflows 64 bits");
    if (index < 4) {
      low |= (byte & 0x7f) << (7 * index);
    } else {
      high += (byte & 0x7f) * scale;
      scale *= 128;
    }
    if (byte < 0x80) {
      cursor.offset += index + 1;
      const half = high * 2 ** 27 + (low >>> 1);
      cursor.value = (low & 1) === 0 ? half : -half - 1;
      return true;
    }
  }
  throw new TunnelProtocolError("varint overflows 64 bits");
}

/** Moves past one varint without computing it: message ids. */
export function skipVarint(bytes: Uint8Array, cursor: VarintCursor): boolean {
  for (let index = 0; index < maxBytes; index++) {
    const byte = bytes[cursor.offset + index];
    if (byte === undefined) return false;
    if (byte < 0x80) {
      if (index === maxBytes - 1 && byte > 1) break;
      cursor.offset += index + 1;
      return true;
    }
  }
  throw new TunnelProtocolError("varint overflows 64 bits");
}

/** Reads a varint exactly; for message ids in logs and tests. */
export function readBigVarint(bytes: Uint8Array, offset = 0): bigint {
  let unsigned = 0n;
  for (let index = 0; index < maxBytes; index++) {
    const byte = bytes[offset + index];
    if (byte === undefined) throw new TunnelProtocolError("varint ends too early");
    unsigned |= BigInt(byte & 0x7f) << BigInt(7 * index);
    if (byte < 0x80) return BigInt.asIntN(64, (unsigned >> 1n) ^ -(unsigned & 1n));
  }
  throw new TunnelProtocolError("varint overflows 64 bits");
}

/** Writes a safe integer, whichever: a peer's connection id goes back to it. Returns the offset behind it. */
export function writeVarint(bytes: Uint8Array, offset: number, value: number): number {
  if (!Number.isSafeInteger(value)) throw new RangeError(`${value} is not a whole number below 2^53`);
  const half = value < 0 ? -value - 1 : value;
  let at = offset;
  // The sign joins the first group only: zig-zag doubles, and a number above 2^52 would lose it.
  const first = ((half % 64) << 1) | (value < 0 ? 1 : 0);
  let rest = Math.floor(half / 64);
  if (rest === 0) {
    bytes[at++] = first;
    return at;
  }
  bytes[at++] = first | 0x80;
  while (rest > 0x7f_ff_ff_ff) {
    bytes[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  while (rest > 0x7f) {
    bytes[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  bytes[at++] = rest;
  return at;
}

/** Writes any 64-bit integer; for message ids of other implementations in tests. */
export function writeBigVarint(value: bigint): Buffer {
  let rest = BigInt.asUintN(64, (value << 1n) ^ (value >> 63n));
  const bytes: number[] = [];
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}

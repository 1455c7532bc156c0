import { malformed } from "../server/status.ts";

/**
 * Reads protobuf fields from one message. Made for the hot requests: no intermediate objects, keys as latin1 strings,
 * values as views. Every read checks its bounds; malformed input throws the error a gRPC server gives for it.
 */
export class WireReader {
  readonly #bytes: Buffer;
  #at: number;
  readonly #end: number;

  constructor(bytes: Buffer, start = 0, end = bytes.length) {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
  }

  get done(): boolean {
    return this.#at >= this.#end;
  }

  /** The next field's tag: `number << 3 | wire type`. */
  tag(): number {
    const tag = this.uint();
    if (tag < 8) throw malformed("illegal tag 0");
    return tag;
  }

  /** An unsigned varint of up to 53 bits, and what is below zero as a negative number. */
  int(): number {
    const start = this.#at;
    const value = this.uint();
    // Ten bytes is how a negative int64 is written.
    if (this.#at - start < 10) return value;
    this.#at = start;
    return Number(BigInt.asIntN(64, this.bigint()));
  }

  uint(): number {
    const bytes = this.#bytes;
    let byte = this.#byte();
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    let scale = 0x80;
    for (let count = 1; count < 10; count++) {
      if (this.#at >= this.#end) throw malformed("varint ends early");
      byte = bytes[this.#at++]!;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 0x80;
    }
    throw malformed("varint too long");
  }

  bigint(): bigint {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(64, value);
    }
    throw malformed("varint too long");
  }

  bool(): boolean {
    return this.uint() !== 0;
  }

  /** A view, valid as long as the request's bytes. */
  bytes(): Buffer {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    return this.#bytes.subarray(start, this.#at);
  }

  /** Bytes as a key: one character a byte. */
  key(): string {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    return this.#bytes.toString("latin1", start, this.#at);
  }

  /** A nested message. */
  message(): WireReader {
    const length = this.#length();
    const start = this.#at;
    this.#at += length;
    return new WireReader(this.#bytes, start, this.#at);
  }

  /** Passes over a field the caller does not read. Up to `lastKnown` that can only be a field of the wrong type. */
  skip(tag: number, lastKnown: number): void {
    if (tag >>> 3 <= lastKnown) throw malformed(`wrong wire type ${tag & 7} for field ${tag >>> 3}`);
    switch (tag & 7) {
      case 0:
        this.uint();
        break;
      case 1:
        this.#advance(8);
        break;
      case 2:
        this.#advance(this.#length());
        break;
      case 5:
        this.#advance(4);
        break;
      default:
        throw malformed(`wire type ${tag & 7}`);
    }
  }

  #advance(length: number): void {
    if (length > this.#end - this.#at) throw malformed("field ends early");
    this.#at += length;
  }

  #length(): number {
    const length = this.uint();
    if (length > this.#end - this.#at) throw malformed("field ends early");
    return length;
  }

  #byte(): number {
    if (this.#at >= this.#end) throw malformed("varint ends early");
    return this.#bytes[this.#at++]!;
  }
}

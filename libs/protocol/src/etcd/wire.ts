/** Protobuf wire primitives: a reader that trusts nothing and a writer that grows. Source: protobuf encoding specification. */

/** The bytes are not a message of the expected type. Carries the position where reading stopped making sense. */
export class DecodeError extends Error {
  readonly offset: number;

  constructor(message: string, offset: number) {
    super(`${message} at byte ${offset}`);
    this.name = "DecodeError";
    this.offset = offset;
  }
}

export const wireTypes = { varint: 0, fixed64: 1, bytes: 2, startGroup: 3, endGroup: 4, fixed32: 5 } as const;

const twoTo32 = 4_294_967_296;

export class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get length(): number {
    return this.#bytes.length;
  }

  /** Reads a varint as its low and high 32 bits. */
  #varint(): { low: number; high: number } {
    const bytes = this.#bytes;
    let low = 0;
    let high = 0;
    for (let index = 0; index < 10; index++) {
      if (this.at >= bytes.length) throw new DecodeError("truncated varint", this.at);
      const byte = bytes[this.at++]!;
      const bits = byte & 0x7f;
      if (index < 4) low |= bits << (7 * index);
      else if (index === 4) {
        low |= bits << 28;
        high = bits >>> 4;
      } else if (index < 9) high |= bits << (7 * index - 32);
      else {
        if (byte > 1) throw new DecodeError("varint longer than 64 bits", this.at);
        high |= bits << 31;
      }
      if (byte < 0x80) return { low: low >>> 0, high: high >>> 0 };
    }
    throw new DecodeError("varint longer than 10 bytes", this.at);
  }

  /** A varint below 2^32: tags, lengths, enums. */
  uint32(): number {
    const bytes = this.#bytes;
    // One byte is by far the most common.
    if (this.at < bytes.length && bytes[this.at]! < 0x80) return bytes[this.at++]!;
    return this.#varint().low;
  }

  /** int64 as a number; clients send nothing beyond 2^53 where a number is expected, and a larger value loses precision only. */
  int64(): number {
    const bytes = this.#bytes;
    if (this.at < bytes.length && bytes[this.at]! < 0x80) return bytes[this.at++]!;
    const { low, high } = this.#varint();
    return (high | 0) * twoTo32 + low;
  }

  bigint64(): bigint {
    const { low, high } = this.#varint();
    return (BigInt(high | 0) << 32n) | BigInt(low);
  }

  biguint64(): bigint {
    const { low, high } = this.#varint();
    return (BigInt(high) << 32n) | BigInt(low);
  }

  bool(): boolean {
    const { low, high } = this.#varint();
    return low !== 0 || high !== 0;
  }

  /** A length-delimited field, as a view into the input. */
  bytes(): Buffer {
    const length = this.uint32();
    const end = this.at + length;
    if (end > this.#bytes.length) throw new DecodeError("length runs past the end", this.at);
    const value = this.#bytes.subarray(this.at, end);
    this.at = end;
    return value;
  }

  skip(wireType: number): void {
    switch (wireType) {
      case wireTypes.varint:
        this.#varint();
        return;
      case wireTypes.fixed64:
        this.#advance(8);
        return;
      case wireTypes.bytes:
        this.bytes();
        return;
      case wireTypes.fixed32:
        this.#advance(4);
        return;
      default:
        throw new DecodeError(`wire type ${wireType} is not supported`, this.at);
    }
  }

  #advance(count: number): void {
    if (this.at + count > this.#bytes.length) throw new DecodeError("truncated field", this.at);
    this.at += count;
  }
}

/** Appends to a buffer that doubles; {@link Writer.finish} returns what was written. */
export class Writer {
  #buffer: Buffer;
  #at = 0;

  constructor(sizeHint = 256) {
    this.#buffer = Buffer.allocUnsafe(sizeHint);
  }

  finish(): Buffer {
    return this.#buffer.subarray(0, this.#at);
  }

  uint32(value: number): void {
    this.#reserve(5);
    let rest = value >>> 0;
    while (rest > 0x7f) {
      this.#buffer[this.#at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.#buffer[this.#at++] = rest;
  }

  int64(value: number): void {
    if (value >= 0 && value <= 0xffff_ffff) {
      this.uint32(value);
    } else if (!Number.isSafeInteger(value)) {
      this.bigint(BigInt(Math.trunc(value)));
    } else {
      const high = Math.floor(value / twoTo32);
      this.#varint(value - high * twoTo32, high);
    }
  }

  /** int64 or uint64: the two share their 64 bits. */
  bigint(value: bigint): void {
    const bits = BigInt.asUintN(64, value);
    this.#varint(Number(bits & 0xffff_ffffn), Number(bits >> 32n));
  }

  bytes(value: Uint8Array): void {
    this.uint32(value.length);
    this.#reserve(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  /** Begins a nested message, whose length is not known yet. {@link Writer.endMessage} takes what this returns. */
  beginMessage(): number {
    this.#reserve(1);
    return ++this.#at;
  }

  /** Puts the length in front of what was written since; one byte was kept for it, a longer one moves the message. */
  endMessage(start: number): void {
    const length = this.#at - start;
    if (length < 0x80) {
      this.#buffer[start - 1] = length;
      return;
    }
    const more = length < 0x4000 ? 1 : length < 0x20_0000 ? 2 : length < 0x1000_0000 ? 3 : 4;
    this.#reserve(more);
    this.#buffer.copyWithin(start + more, start, this.#at);
    this.#at = start - 1;
    this.uint32(length);
    this.#at += length;
  }

  string(value: string): void {
    const length = Buffer.byteLength(value);
    this.uint32(length);
    this.#reserve(length);
    this.#at += this.#buffer.write(value, this.#at);
  }

  #varint(low: number, high: number): void {
    this.#reserve(10);
    let lo = low >>> 0;
    let hi = high >>> 0;
    while (hi !== 0 || lo > 0x7f) {
      this.#buffer[this.#at++] = (lo & 0x7f) | 0x80;
      lo = ((lo >>> 7) | (hi << 25)) >>> 0;
      hi >>>= 7;
    }
    this.#buffer[this.#at++] = lo;
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#buffer.length * 2));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}

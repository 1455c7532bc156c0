/**
 * DER (X.690), as far as certificates need it. The reader is strict: definite minimal lengths, no trailing bytes, nothing
 * read past the end; any violation is a {@link DerError}. It never copies.
 */
export class DerError extends Error {
  override readonly name = "DerError";
}

export const tags = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  printableString: 0x13,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** Tag byte of a context-specific field: constructed unless said otherwise. */
export function contextTag(number: number, constructed = true): number {
  return 0x80 | (constructed ? 0x20 : 0) | number;
}

export function encode(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return Buffer.concat([Buffer.from([tag]), encodeLength(length), ...contents]);
}

function encodeLength(length: number): Buffer {
  if (length < 0x80) return Buffer.from([length]);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest & 0xff);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

export function sequence(...items: readonly Uint8Array[]): Buffer {
  return encode(tags.sequence, ...items);
}

/** A non-negative integer from its big-endian bytes. */
export function integer(magnitude: Uint8Array): Buffer {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start++;
  const bytes = magnitude.length === 0 ? Buffer.from([0]) : magnitude.subarray(start);
  return (bytes[0]! & 0x80) === 0
    ? encode(tags.integer, bytes)
    : encode(tags.integer, Buffer.concat([Buffer.from([0]), bytes]));
}

export function boolean(value: boolean): Buffer {
  return encode(tags.boolean, Buffer.from([value ? 0xff : 0]));
}

export function octetString(content: Uint8Array): Buffer {
  return encode(tags.octetString, content);
}

/** A bit string of whole bytes, or with unused bits at its end. */
export function bitString(content: Uint8Array, unusedBits = 0): Buffer {
  return encode(tags.bitString, Buffer.from([unusedBits]), content);
}

export function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const part of rest) {
    const septets = [part & 0x7f];
    for (let value = part >>> 7; value > 0; value >>>= 7) septets.unshift(0x80 | (value & 0x7f));
    bytes.push(...septets);
  }
  return encode(tags.oid, Buffer.from(bytes));
}

/** PrintableString where the text allows it, else UTF8String, as Go's encoder chooses. */
export function text(value: string): Buffer {
  const printable = /^[A-Za-z0-9 '()+,\-./:=?]*$/.test(value);
  return encode(printable ? tags.printableString : tags.utf8String, Buffer.from(value, "utf8"));
}

/** UTCTime until 2049, GeneralizedTime after (RFC 5280); whole seconds. */
export function time(ms: number): Buffer {
  const digits = new Date(ms).toISOString().replace(/[-:T]/g, "").slice(0, 14);
  return Number(digits.slice(0, 4)) < 2050
    ? encode(tags.utcTime, Buffer.from(`${digits.slice(2)}Z`))
    : encode(tags.generalizedTime, Buffer.from(`${digits}Z`));
}

/** One value of a DER text. */
export interface DerValue {
  tag: number;
  /** Its content. */
  content: Buffer;
  /** Tag, length and content. */
  raw: Buffer;
}

/** Reads values one after the other. */
export class DerReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#at >= this.#bytes.length;
  }

  /** The tag of the next value, undefined at the end. */
  peek(): number | undefined {
    return this.#bytes[this.#at];
  }

  next(): DerValue {
    const start = this.#at;
    const tag = this.#byte();
    if ((tag & 0x1f) === 0x1f) throw new DerError("tags of several bytes are not used in certificates");
    const length = this.#length();
    const end = this.#at + length;
    if (end > this.#bytes.length) throw new DerError("a value ends after the data");
    const content = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return { tag, content, raw: this.#bytes.subarray(start, end) };
  }

  expect(tag: number): DerValue {
    const value = this.next();
    if (value.tag !== tag) throw new DerError(`expected tag 0x${tag.toString(16)}, found 0x${value.tag.toString(16)}`);
    return value;
  }

  /** A reader of the next value's content. */
  enter(tag: number = tags.sequence): DerReader {
    return new DerReader(this.expect(tag).content);
  }

  /** The next value if it has this tag. */
  optional(tag: number): DerValue | undefined {
    return this.peek() === tag ? this.next() : undefined;
  }

  end(): void {
    if (!this.done) throw new DerError("there are bytes after the end");
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++];
    if (byte === undefined) throw new DerError("the data ends too early");
    return byte;
  }

  #length(): number {
    const first = this.#byte();
    if (first < 0x80) return first;
    const count = first & 0x7f;
    if (count === 0 || count > 4) throw new DerError("indefinite or oversize length");
    let length = 0;
    for (let index = 0; index < count; index++) length = length * 256 + this.#byte();
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerError("length is not minimal");
    return length;
  }
}

export function readOid(value: DerValue): string {
  const bytes = value.content;
  if (bytes.length === 0 || (bytes.at(-1)! & 0x80) !== 0) throw new DerError("truncated object identifier");
  const parts: number[] = [];
  let current = 0;
  for (const byte of bytes) {
    current = current * 128 + (byte & 0x7f);
    if (current > Number.MAX_SAFE_INTEGER / 128) throw new DerError("object identifier out of bounds");
    if ((byte & 0x80) !== 0) continue;
    if (parts.length === 0)
      parts.push(Math.min(2, Math.floor(current / 40)), current - 40 * Math.min(2, Math.floor(current / 40)));
    else parts.push(current);
    current = 0;
  }
  return parts.join(".");
}

export function readTime(value: DerValue): number {
  const digits = value.content.toString("latin1");
  const match =
    value.tag === tags.utcTime
      ? /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits)
      : value.tag === tags.generalizedTime
        ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/.exec(digits)
        : null;
  if (match === null) throw new DerError("unreadable time");
  const [, year, month, day, hour, minute, second] = match.map(Number) as [number, ...number[]];
  const full = value.tag === tags.utcTime ? (year! < 50 ? 2000 + year! : 1900 + year!) : year!;
  return Date.UTC(full, month! - 1, day, hour, minute, second);
}

/** The bytes of a bit string without unused bits. */
export function readBits(value: DerValue): { bytes: Buffer; unusedBits: number } {
  const unusedBits = value.content[0];
  if (value.tag !== tags.bitString || unusedBits === undefined || unusedBits > 7) throw new DerError("bad bit string");
  return { bytes: value.content.subarray(1), unusedBits };
}

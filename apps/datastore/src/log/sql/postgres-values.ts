/**
 * Arrays in PostgreSQL's binary format. A whole batch goes into one prepared `INSERT … SELECT FROM unnest(…)` with one array
 * per column: planned once, no quoting, and values travel as they are rather than as hexadecimal digits.
 */
const oid = { bytea: 17, int8: 20, int4: 23, text: 25 } as const;
const headerBytes = 20;

export function int4Array(values: readonly number[]): Buffer {
  const buffer = arrayHeader(oid.int4, values.length, 8 * values.length, false);
  let at = headerBytes;
  for (const value of values) {
    buffer.writeInt32BE(4, at);
    buffer.writeInt32BE(value, at + 4);
    at += 8;
  }
  return buffer;
}

/** Safe integers, or 64-bit ids as bigint; undefined stands for NULL. */
export function int8Array(values: readonly (number | bigint | undefined)[]): Buffer {
  let size = 0;
  for (const value of values) size += value === undefined ? 4 : 12;
  const buffer = arrayHeader(oid.int8, values.length, size, size < 12 * values.length);
  let at = headerBytes;
  for (const value of values) {
    at = buffer.writeInt32BE(value === undefined ? -1 : 8, at);
    if (typeof value === "bigint") at = buffer.writeBigInt64BE(value, at);
    else if (value !== undefined) {
      at = buffer.writeInt32BE(Math.floor(value / 0x1_0000_0000), at);
      at = buffer.writeUInt32BE(value >>> 0, at);
    }
  }
  return buffer;
}

export function textArray(values: readonly string[]): Buffer {
  let size = 0;
  const lengths = values.map((value) => Buffer.byteLength(value));
  for (const length of lengths) size += 4 + length;
  const buffer = arrayHeader(oid.text, values.length, size, false);
  let at = headerBytes;
  for (let index = 0; index < values.length; index++) {
    at = buffer.writeInt32BE(lengths[index]!, at);
    at += buffer.write(values[index]!, at);
  }
  return buffer;
}

/** Undefined stands for NULL. */
export function byteaArray(values: readonly (Uint8Array | undefined)[]): Buffer {
  let size = 0;
  let hasNull = false;
  for (const value of values) {
    size += 4 + (value?.length ?? 0);
    hasNull ||= value === undefined;
  }
  const buffer = arrayHeader(oid.bytea, values.length, size, hasNull);
  let at = headerBytes;
  for (const value of values) {
    at = buffer.writeInt32BE(value === undefined ? -1 : value.length, at);
    if (value === undefined) continue;
    buffer.set(value, at);
    at += value.length;
  }
  return buffer;
}

/** One dimension, lower bound 1. An empty array has no dimension at all. */
function arrayHeader(elementOid: number, length: number, contentBytes: number, hasNull: boolean): Buffer {
  if (length === 0) {
    const empty = Buffer.alloc(12);
    empty.writeInt32BE(elementOid, 8);
    return empty;
  }
  const buffer = Buffer.allocUnsafe(headerBytes + contentBytes);
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(hasNull ? 1 : 0, 4);
  buffer.writeInt32BE(elementOid, 8);
  buffer.writeInt32BE(length, 12);
  buffer.writeInt32BE(1, 16);
  return buffer;
}

/**
 * Keys are bytes, PostgreSQL's text is characters without NUL. Each byte becomes the character of the same number, and
 * 0x00 and 0x01 become two characters, so that plain ASCII keys stay as they are and the order (collation "C") is kept.
 */
export function encodeName(name: string): string {
  return hasEscaped.test(name) ? name.replace(allEscaped, (byte) => (byte === "\0" ? "\x01\x01" : "\x01\x02")) : name;
}

/** Undoes {@link encodeName}. A name with characters beyond a byte is kine's, which stores a key's UTF-8 as it is. */
export function decodeName(stored: string): string {
  if (isAscii.test(stored)) return stored;
  if (beyondByte.test(stored)) return Buffer.from(stored).toString("latin1");
  return stored.replace(allPairs, (pair) => (pair === "\x01\x01" ? "\0" : "\x01"));
}

// biome-ignore-start lint/suspicious/noControlCharactersInRegex: these are the characters that need an escape.
const hasEscaped = /[\0\x01]/;
const allEscaped = /[\0\x01]/g;
const allPairs = /\x01[\x01\x02]/g;
const isAscii = /^[\x02-\x7f]*$/;
const beyondByte = /[^\0-\xff]/;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: end of the list

/** `\x…` as PostgreSQL prints bytea. */
export function decodeBytea(text: string): Buffer {
  return Buffer.from(text.slice(2), "hex");
}

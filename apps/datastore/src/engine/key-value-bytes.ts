import type { Version } from "./version.ts";

/**
 * The protobuf bytes of mvccpb.KeyValue: key=1, create_revision=2, mod_revision=3, version=4, value=5, lease=6. They
 * are made once per version and reused in every response and event, so this is written for speed.
 */
export function keyValueSize(version: Version, valueLength: number): number {
  const keyLength = version.entry.key.length;
  let size = 1 + varintSize(keyLength) + keyLength;
  if (version.createRevision > 0) size += 1 + varintSize(version.createRevision);
  size += 1 + varintSize(version.revision);
  if (version.version > 0) size += 1 + varintSize(version.version);
  if (valueLength > 0) size += 1 + varintSize(valueLength) + valueLength;
  if (version.lease !== undefined) size += 1 + varint64Size(version.lease.id);
  return size;
}

/** Writes the KeyValue at `at` and returns the position after it. */
export function writeKeyValue(target: Buffer, at: number, version: Version, value: Uint8Array | undefined): number {
  const { key } = version.entry;
  target[at++] = 0x0a;
  at = writeVarint(target, at, key.length);
  at += target.write(key, at, "latin1");
  if (version.createRevision > 0) {
    target[at++] = 0x10;
    at = writeVarint(target, at, version.createRevision);
  }
  target[at++] = 0x18;
  at = writeVarint(target, at, version.revision);
  if (version.version > 0) {
    target[at++] = 0x20;
    at = writeVarint(target, at, version.version);
  }
  if (value !== undefined && value.length > 0) {
    target[at++] = 0x2a;
    at = writeVarint(target, at, value.length);
    target.set(value, at);
    at += value.length;
  }
  if (version.lease !== undefined) {
    target[at++] = 0x30;
    at = writeVarint64(target, at, version.lease.id);
  }
  return at;
}

export function encodeKeyValue(version: Version, value: Uint8Array | undefined): Buffer {
  const bytes = Buffer.allocUnsafe(keyValueSize(version, value?.length ?? 0));
  writeKeyValue(bytes, 0, version, value);
  return bytes;
}

/** The value inside bytes that {@link writeKeyValue} made for `version`. */
export function valueInKeyValue(version: Version, bytes: Buffer): Buffer {
  const keyLength = version.entry.key.length;
  let at = 1 + varintSize(keyLength) + keyLength;
  if (version.createRevision > 0) at += 1 + varintSize(version.createRevision);
  at += 1 + varintSize(version.revision);
  if (version.version > 0) at += 1 + varintSize(version.version);
  if (bytes[at] !== 0x2a) return bytes.subarray(0, 0);
  at++;
  let length = 0;
  for (let shift = 1; ; shift *= 128) {
    const byte = bytes[at++]!;
    length += (byte & 0x7f) * shift;
    if (byte < 0x80) break;
  }
  return bytes.subarray(at, at + length);
}

export function varintSize(value: number): number {
  let size = 1;
  for (; value >= 0x80; value = Math.floor(value / 0x80)) size++;
  return size;
}

export function writeVarint(target: Uint8Array, at: number, value: number): number {
  while (value >= 0x8000_0000) {
    target[at++] = (value & 0x7f) | 0x80;
    value = Math.floor(value / 0x80);
  }
  while (value >= 0x80) {
    target[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  target[at++] = value;
  return at;
}

/** Negative numbers take ten bytes, as protobuf's int64 does. */
export function varint64Size(value: bigint): number {
  let size = 1;
  for (let rest = BigInt.asUintN(64, value); rest >= 0x80n; rest >>= 7n) size++;
  return size;
}

export function writeVarint64(target: Uint8Array, at: number, value: bigint): number {
  let rest = BigInt.asUintN(64, value);
  for (; rest >= 0x80n; rest >>= 7n) target[at++] = Number(rest & 0x7fn) | 0x80;
  target[at++] = Number(rest);
  return at;
}

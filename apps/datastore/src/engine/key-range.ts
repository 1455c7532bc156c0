import type { Key } from "./version.ts";

/**
 * The keys an etcd request names, as a half-open interval of keys: `[start, end)`, with `end` undefined for "to the last
 * key". A single key k is `[k, k + 0x00)`. Contract: range_end empty = that key; 0x00 = from the key on; an end that is
 * not above the key names nothing.
 */
export interface KeyRange {
  readonly start: Key;
  readonly end: Key | undefined;
}

export function keyRange(key: Key, rangeEnd: Key): KeyRange {
  if (rangeEnd === "") return { start: key, end: `${key}\0` };
  if (rangeEnd === "\0") return { start: key, end: undefined };
  return { start: key, end: rangeEnd };
}

export function contains(range: KeyRange, key: Key): boolean {
  return key >= range.start && (range.end === undefined || key < range.end);
}

/** The smallest key above every key that starts with `prefix`; undefined when there is none (only 0xff bytes). */
export function prefixEnd(prefix: Key): Key | undefined {
  for (let at = prefix.length - 1; at >= 0; at--) {
    const byte = prefix.charCodeAt(at);
    if (byte < 0xff) return prefix.slice(0, at) + String.fromCharCode(byte + 1);
  }
  return undefined;
}

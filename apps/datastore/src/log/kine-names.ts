import type { Key } from "../engine/version.ts";

/**
 * Names that kine's table reserves. kine keeps its compaction point in the row `compact_rev_key`, and stores what
 * clients write under that key as `compact_rev_key_apiserver` with the key's version in front of the value. A client's
 * own key that starts like that name gets one more character, so that the mapping can be undone.
 */
export const compactRow = "compact_rev_key";
const apiserverRow = "compact_rev_key_apiserver";

export function nameOfKey(key: Key): Key {
  if (key === compactRow) return apiserverRow;
  return key.startsWith(apiserverRow) ? `${key}~` : key;
}

export function keyOfName(name: Key): Key {
  if (!name.startsWith(apiserverRow)) return name;
  return name === apiserverRow ? compactRow : name.slice(0, -1);
}

/** What the table holds for a value of the client's `compact_rev_key`: `<version>|<value>`. */
export function wrapCompactValue(version: number, value: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.from(`${version}|`), value]);
}

export function unwrapCompactValue(stored: Uint8Array): { version: number; value: Uint8Array } {
  const text = Buffer.from(stored.buffer, stored.byteOffset, stored.length);
  const bar = text.indexOf("|");
  const version = Number(text.toString("latin1", 0, bar === -1 ? text.length : bar));
  const value = bar === -1 ? Buffer.from("0") : text.subarray(bar + 1);
  return { version: Number.isSafeInteger(version) ? version : 1, value };
}

/** A row that kine wrote only to close a hole in the ids: `gap-<id>`, deleted, never created. */
export function isGapRow(name: string, created: boolean, deleted: boolean, previousId: number): boolean {
  return deleted && !created && previousId === 0 && name.startsWith("gap-");
}

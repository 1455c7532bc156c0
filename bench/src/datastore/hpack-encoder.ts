/**
 * HPACK as a gRPC client uses it: the first request of a path spells its header fields out and stores them, later ones
 * send one byte a field. Source: RFC 7541.
 */
export class HpackEncoder {
  /** Newest first, as the decoder numbers them. */
  readonly #stored: string[] = [];

  encode(fields: readonly (readonly [string, string])[]): Buffer {
    const parts: number[] = [];
    for (const [name, value] of fields) {
      const known = staticTable.get(`${name}: ${value}`);
      const at = this.#stored.indexOf(`${name}: ${value}`);
      if (known !== undefined) parts.push(0x80 | known);
      else if (at >= 0) parts.push(0x80 | (firstDynamic + at));
      else {
        // Literal with incremental indexing, new name.
        parts.push(0x40, ...lengthPrefixed(name), ...lengthPrefixed(value));
        this.#stored.unshift(`${name}: ${value}`);
      }
    }
    return Buffer.from(parts);
  }
}

const firstDynamic = 62;
const staticTable = new Map([
  [":method: POST", 3],
  [":scheme: http", 6],
]);

function lengthPrefixed(text: string): number[] {
  const bytes = Buffer.from(text);
  if (bytes.length > 126) throw new RangeError("header fields of a bench are short");
  return [bytes.length, ...bytes];
}

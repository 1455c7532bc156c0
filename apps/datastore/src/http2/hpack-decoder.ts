import { ConnectionError, h2Error } from "./frame.ts";
import { decodeHuffman } from "./huffman.ts";

export interface HeaderField {
  name: string;
  value: string;
}

/** RFC 7541, appendix A, from index 1 on. Entries without a value are names only. */
const staticTable: readonly HeaderField[] = (
  ":authority|:method=GET|:method=POST|:path=/|:path=/index.html|:scheme=http|:scheme=https|:status=200|:status=204|" +
  ":status=206|:status=304|:status=400|:status=404|:status=500|accept-charset|accept-encoding=gzip, deflate|" +
  "accept-language|accept-ranges|accept|access-control-allow-origin|age|allow|authorization|cache-control|" +
  "content-disposition|content-encoding|content-language|content-length|content-location|content-range|content-type|" +
  "cookie|date|etag|expect|expires|from|host|if-match|if-modified-since|if-none-match|if-range|if-unmodified-since|" +
  "last-modified|link|location|max-forwards|proxy-authenticate|proxy-authorization|range|referer|refresh|retry-after|" +
  "server|set-cookie|strict-transport-security|transfer-encoding|user-agent|vary|via|www-authenticate"
)
  .split("|")
  .map((entry) => {
    const at = entry.indexOf("=");
    return at < 0 ? { name: entry, value: "" } : { name: entry.slice(0, at), value: entry.slice(at + 1) };
  });

/** The size a dynamic table may have: what we tell the peer in SETTINGS, which is the default. */
const maxTableBytes = 4_096;
const entryOverheadBytes = 32;
/** Decoded size of one header block; gRPC's own default limit is far above what a client sends. */
const maxHeaderListBytes = 64 * 1_024;

/** Decodes header blocks of one connection, in order: each may change the table that the next one refers to. */
export class HpackDecoder {
  /** Newest first, as the indexes count. */
  readonly #dynamic: HeaderField[] = [];
  #dynamicBytes = 0;
  #tableLimit = maxTableBytes;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  /** Calls `onField` for each field in order. Throws ConnectionError on anything malformed. */
  decode(block: Buffer, onField: (name: string, value: string) => void): void {
    this.#block = block;
    this.#at = 0;
    let total = 0;
    while (this.#at < block.length) {
      const first = block[this.#at]!;
      if (first >= 0x20 && first < 0x40) {
        this.#resize(this.#integer(5));
        continue;
      }
      const field = this.#field(first);
      total += field.name.length + field.value.length + entryOverheadBytes;
      if (total > maxHeaderListBytes) throw new ConnectionError(h2Error.enhanceYourCalm, "header list too large");
      onField(field.name, field.value);
    }
  }

  #field(first: number): HeaderField {
    if (first >= 0x80) return this.#lookUp(this.#integer(7));
    const indexed = first >= 0x40;
    const nameIndex = this.#integer(indexed ? 6 : 4);
    const name = nameIndex === 0 ? this.#string() : this.#lookUp(nameIndex).name;
    const field = { name, value: this.#string() };
    if (indexed) this.#add(field);
    return field;
  }

  #lookUp(index: number): HeaderField {
    const field = index <= staticTable.length ? staticTable[index - 1] : this.#dynamic[index - staticTable.length - 1];
    if (field === undefined) throw new ConnectionError(h2Error.compression, `no header at index ${index}`);
    return field;
  }

  #add(field: HeaderField): void {
    this.#dynamic.unshift(field);
    this.#dynamicBytes += field.name.length + field.value.length + entryOverheadBytes;
    this.#evict();
  }

  #resize(limit: number): void {
    if (limit > maxTableBytes) throw new ConnectionError(h2Error.compression, "header table larger than allowed");
    this.#tableLimit = limit;
    this.#evict();
  }

  #evict(): void {
    while (this.#dynamicBytes > this.#tableLimit) {
      const field = this.#dynamic.pop()!;
      this.#dynamicBytes -= field.name.length + field.value.length + entryOverheadBytes;
    }
  }

  /** An integer with a prefix of `bits` bits. */
  #integer(bits: number): number {
    const mask = (1 << bits) - 1;
    let value = this.#byte() & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new ConnectionError(h2Error.compression, "integer too large");
  }

  #string(): string {
    const huffman = this.#at < this.#block.length && this.#block[this.#at]! >= 0x80;
    const length = this.#integer(7);
    const start = this.#at;
    if (length > this.#block.length - start) throw new ConnectionError(h2Error.compression, "string ends early");
    this.#at += length;
    if (huffman) return decodeHuffman(this.#block.subarray(start, this.#at));
    return this.#block.toString("latin1", start, this.#at);
  }

  #byte(): number {
    if (this.#at >= this.#block.length) throw new ConnectionError(h2Error.compression, "header block ends early");
    return this.#block[this.#at++]!;
  }
}

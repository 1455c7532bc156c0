/** A header field as an HPACK literal that is not indexed: it refers to no table, so that blocks can be made once and kept. */
export function headerField(name: string, value: string): Buffer {
  return Buffer.concat([Buffer.from([0]), hpackString(name), hpackString(value)]);
}

/** The field that every block of response headers begins with. */
export function statusField(status: number): Buffer {
  return headerField(":status", String(status));
}

/** A string as it stands in a header block, without Huffman's code. */
export function hpackString(text: string): Buffer {
  const bytes = Buffer.from(text, "latin1");
  if (bytes.length < 0x7f) return Buffer.concat([Buffer.from([bytes.length]), bytes]);
  const prefix = [0x7f];
  let rest = bytes.length - 0x7f;
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) prefix.push((rest & 0x7f) | 0x80);
  prefix.push(rest);
  return Buffer.concat([Buffer.from(prefix), bytes]);
}

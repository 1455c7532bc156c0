import { ConnectionError, h2Error } from "./frame.ts";

/**
 * HPACK's Huffman code (RFC 7541, appendix B). The code is canonical: code words follow from their lengths, shorter
 * first, then by symbol; so only the lengths are written down. Symbol 256 ends a string and must not appear.
 */
const codeLengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
  28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6,
  5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23,
  22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22,
  23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26,
  20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27,
  27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27,
  27, 27, 27, 26, 30,
];

const endOfString = 256;
const maxCodeBits = 30;

/** Per length: the first code word, the number of code words, and where their symbols start in `symbols`. */
const firstCode = new Array<number>(maxCodeBits + 1).fill(0);
const codeCount = new Array<number>(maxCodeBits + 1).fill(0);
const firstSymbol = new Array<number>(maxCodeBits + 1).fill(0);
const symbols: number[] = [];

for (let bits = 1, code = 0; bits <= maxCodeBits; bits++, code *= 2) {
  firstCode[bits] = code;
  firstSymbol[bits] = symbols.length;
  for (let symbol = 0; symbol < codeLengths.length; symbol++) if (codeLengths[symbol] === bits) symbols.push(symbol);
  codeCount[bits] = symbols.length - firstSymbol[bits]!;
  code += codeCount[bits]!;
}

/** Decodes a Huffman string into latin1 text. */
export function decodeHuffman(bytes: Buffer): string {
  const out: number[] = [];
  let code = 0;
  let bits = 0;
  for (const byte of bytes) {
    for (let shift = 7; shift >= 0; shift--) {
      code = code * 2 + ((byte >> shift) & 1);
      bits++;
      if (bits > maxCodeBits) throw new ConnectionError(h2Error.compression, "invalid Huffman code");
      const offset = code - firstCode[bits]!;
      if (offset < 0 || offset >= codeCount[bits]!) continue;
      const symbol = symbols[firstSymbol[bits]! + offset]!;
      if (symbol === endOfString) throw new ConnectionError(h2Error.compression, "end of string inside a string");
      out.push(symbol);
      code = 0;
      bits = 0;
    }
  }
  // What is left is padding: fewer than eight bits, all ones.
  if (bits > 7 || code !== 2 ** bits - 1) throw new ConnectionError(h2Error.compression, "invalid Huffman padding");
  return String.fromCharCode(...out);
}

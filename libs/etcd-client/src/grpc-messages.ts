import type { ClientHttp2Stream } from "node:http2";

/** One byte of flags and four of length come before each message. */
const prefixBytes = 5;

/** Cuts a gRPC body into its length-prefixed messages. */
export class MessageReader {
  readonly #onMessage: (message: Buffer) => void;
  #chunks: Buffer[] = [];
  #buffered = 0;
  #needed = prefixBytes;

  constructor(onMessage: (message: Buffer) => void) {
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#buffered += chunk.length;
    if (this.#buffered < this.#needed) return;
    let bytes = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    for (;;) {
      this.#needed = bytes.length < prefixBytes ? prefixBytes : prefixBytes + bytes.readUInt32BE(1);
      if (bytes.length < this.#needed) break;
      this.#onMessage(bytes.subarray(prefixBytes, this.#needed));
      bytes = bytes.subarray(this.#needed);
      this.#needed = prefixBytes;
    }
    this.#chunks = bytes.length === 0 ? [] : [bytes];
    this.#buffered = bytes.length;
  }
}

export function writeMessage(stream: ClientHttp2Stream, message: Buffer): void {
  const frame = Buffer.allocUnsafe(prefixBytes + message.length);
  frame[0] = 0;
  frame.writeUInt32BE(message.length, 1);
  message.copy(frame, prefixBytes);
  stream.write(frame);
}

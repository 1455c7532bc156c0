import {
  ConnectionError,
  clientPreface,
  defaultMaxFrameBytes,
  frameFlag,
  frameHeaderBytes,
  frameType,
  h2Error,
  unpad,
} from "./frame.ts";

const maxHeaderBlockBytes = 64 * 1_024;
const maxHeaderFrames = 64;

/** Takes a frame. A HEADERS frame comes with its whole block, and only with that. */
export type OnFrame = (type: number, flags: number, streamId: number, payload: Buffer) => void;

/**
 * Cuts what a client sends into frames, in place. Throws a ConnectionError where the bytes are not HTTP/2; the stream's
 * errors are the receiver's business.
 */
export class FrameReader {
  readonly #onFrame: OnFrame;
  #rest: Buffer | undefined;
  #prefaceSeen = false;
  /** A header block in the middle of its CONTINUATION frames. */
  #block: { streamId: number; flags: number; parts: Buffer[]; bytes: number } | undefined;
  #stopped = false;
  /** Frames read so far. */
  count = 0;

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  /** Whatever else has arrived is not looked at. */
  stop(): void {
    this.#stopped = true;
  }

  push(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    this.#rest = undefined;
    if (!this.#prefaceSeen) {
      if (bytes.length < clientPreface.length) {
        this.#rest = bytes;
        return;
      }
      if (!bytes.subarray(0, clientPreface.length).equals(clientPreface)) {
        throw new ConnectionError(h2Error.protocol, "not an HTTP/2 client");
      }
      this.#prefaceSeen = true;
      at = clientPreface.length;
    }
    while (bytes.length - at >= frameHeaderBytes && !this.#stopped) {
      const length = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
      if (length > defaultMaxFrameBytes) throw new ConnectionError(h2Error.frameSize, "frame too large");
      const end = at + frameHeaderBytes + length;
      if (end > bytes.length) break;
      const streamId = bytes.readUInt32BE(at + 5) & 0x7fff_ffff;
      this.count++;
      this.#frame(bytes[at + 3]!, bytes[at + 4]!, streamId, bytes.subarray(at + frameHeaderBytes, end));
      at = end;
    }
    if (at < bytes.length) this.#rest = at === 0 ? bytes : bytes.subarray(at);
  }

  #frame(type: number, flags: number, streamId: number, payload: Buffer): void {
    if (this.#block !== undefined && (type !== frameType.continuation || streamId !== this.#block.streamId)) {
      throw new ConnectionError(h2Error.protocol, "header block interrupted");
    }
    switch (type) {
      case frameType.headers:
        this.#headers(flags, streamId, payload);
        break;
      case frameType.continuation:
        this.#continuation(flags, payload);
        break;
      default:
        this.#onFrame(type, flags, streamId, payload);
    }
  }

  #headers(flags: number, streamId: number, payload: Buffer): void {
    let block = unpad(flags, payload);
    if ((flags & frameFlag.priority) !== 0) block = block.subarray(5);
    if ((flags & frameFlag.endHeaders) !== 0) this.#onFrame(frameType.headers, flags, streamId, block);
    else this.#block = { streamId, flags, parts: [block], bytes: block.length };
  }

  #continuation(flags: number, payload: Buffer): void {
    const block = this.#block;
    if (block === undefined) throw new ConnectionError(h2Error.protocol, "continuation of nothing");
    block.parts.push(payload);
    block.bytes += payload.length;
    if (block.bytes > maxHeaderBlockBytes || block.parts.length > maxHeaderFrames) {
      throw new ConnectionError(h2Error.enhanceYourCalm, "header block too large");
    }
    if ((flags & frameFlag.endHeaders) === 0) return;
    this.#block = undefined;
    this.#onFrame(frameType.headers, block.flags, block.streamId, Buffer.concat(block.parts));
  }
}

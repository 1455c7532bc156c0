import type { Http2Connection } from "./connection.ts";

/** What a call is told about its stream. */
export interface StreamListener {
  onData(bytes: Buffer): void;
  /** The client will send no more. */
  onEnd(): void;
  /** The stream is over: reset by the client, or its connection is gone. Not called after a regular end. */
  onAbort(): void;
  /** Something that waited has been sent. */
  onDrain(): void;
}

/** Bytes to send, and who wants to know that the socket has taken them. */
interface Chunk {
  bytes: Uint8Array;
  onTaken: (() => void) | undefined;
}

/** One request and its response. Bytes to send wait here until flow control lets them go. */
export class Http2Stream {
  readonly id: number;
  readonly #connection: Http2Connection;
  listener: StreamListener | undefined;
  /** Bytes the client still takes on this stream. */
  sendWindow: number;
  /** Bytes received since the window was last opened again. */
  unacknowledged = 0;
  remoteEnded = false;
  #queue: Chunk[] = [];
  #queuedBytes = 0;
  /** Header block that ends the stream once the queue is empty. */
  #trailers: Buffer | undefined;
  #ended = false;

  constructor(id: number, connection: Http2Connection, sendWindow: number) {
    this.id = id;
    this.#connection = connection;
    this.sendWindow = sendWindow;
  }

  /** Bytes that wait for flow control or for the socket. */
  get pendingBytes(): number {
    return this.#queuedBytes + this.#connection.pendingBytes;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  sendHeaders(block: Buffer): void {
    if (!this.#ended) this.#connection.writeHeaders(this.id, block, false);
  }

  /** `onTaken`: the bytes are not looked at any more; not called when they could not be sent. */
  sendData(bytes: Uint8Array, onTaken?: () => void): void {
    if (this.#ended || this.#trailers !== undefined) return;
    this.#queue.push({ bytes, onTaken });
    this.#queuedBytes += bytes.length;
    this.#connection.addQueued(bytes.length);
    this.pump();
  }

  /** Ends the stream after everything that was sent before, without trailers when they are empty. */
  end(trailers: Buffer): void {
    if (this.#ended || this.#trailers !== undefined) return;
    this.#trailers = trailers;
    this.pump();
  }

  /** Sends what flow control allows. */
  pump(): void {
    const connection = this.#connection;
    let sent = 0;
    while (this.#queue.length > 0) {
      const chunk = this.#queue[0]!;
      const { bytes } = chunk;
      const allowed = Math.min(this.sendWindow, connection.sendWindow, connection.maxFrameBytes);
      if (allowed <= 0 && bytes.length > 0) break;
      const part = bytes.length <= allowed ? bytes : bytes.subarray(0, allowed);
      connection.writeData(this.id, part, part === bytes ? chunk.onTaken : undefined);
      this.sendWindow -= part.length;
      sent += part.length;
      if (part === bytes) this.#queue.shift();
      else chunk.bytes = bytes.subarray(allowed);
    }
    if (sent > 0) {
      this.#queuedBytes -= sent;
      connection.addQueued(-sent);
    }
    if (this.#queue.length > 0) connection.waitForWindow(this);
    else if (this.#trailers !== undefined && !this.#ended) {
      this.#ended = true;
      if (this.#trailers.length > 0) connection.writeHeaders(this.id, this.#trailers, true);
      else connection.writeEnd(this.id);
      connection.finish(this);
    }
  }

  /** Drops everything that waits; the stream is gone. */
  abort(): void {
    this.#ended = true;
    this.#connection.addQueued(-this.#queuedBytes);
    this.#queue = [];
    this.#queuedBytes = 0;
    this.listener?.onAbort();
  }
}

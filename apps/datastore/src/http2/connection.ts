import type { Duplex } from "node:stream";
import {
  ConnectionError,
  defaultMaxFrameBytes,
  defaultWindowBytes,
  frameFlag,
  frameHeaderBytes,
  frameType,
  goawayFrame,
  h2Error,
  makeFrame,
  maxWindowBytes,
  numberFrame,
  setting,
  settingsFrame,
  unpad,
  writeFrameHeader,
} from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { Output } from "./output.ts";
import { type RequestHeaders, readRequestHeaders } from "./request-headers.ts";
import { Http2Stream } from "./stream.ts";

/** Window of a stream: more than the largest message, so that a unary request never waits for us. */
const streamWindowBytes = 4 << 20;
const connectionWindowBytes = 32 << 20;
const maxConcurrentStreams = 65_536;
/** When the client does not take what it asked for, new requests wait until it has taken some of this. */
const maxSocketBacklogBytes = 8 << 20;
/** Responses that may wait for the client's flow control before its next requests are refused. */
const maxQueuedBytes = 256 << 20;

export interface ConnectionOptions {
  /** A request has begun; the callee sets the stream's listener. */
  onRequest(stream: Http2Stream, headers: RequestHeaders): void;
  onClosed(): void;
}

/**
 * The server's half of an HTTP/2 connection (RFC 9113), for gRPC above all: no push, no priorities. Written for many small calls
 * on few connections: frames are parsed in place, a stream is one small object, and all that one turn of the event loop
 * produces leaves in one write.
 */
export class Http2Connection {
  readonly #socket: Duplex;
  readonly #options: ConnectionOptions;
  readonly #output: Output;
  readonly #hpack = new HpackDecoder();
  readonly #streams = new Map<number, Http2Stream>();
  /** Streams with bytes to send and no window, in the order they began to wait. */
  readonly #waiting = new Set<Http2Stream>();
  readonly #frames = new FrameReader((type, flags, streamId, payload) => {
    this.#frame(type, flags, streamId, payload);
  });
  #lastStreamId = 0;
  #unacknowledged = 0;
  #initialSendWindow = defaultWindowBytes;
  #queuedBytes = 0;
  #closed = false;
  sendWindow = defaultWindowBytes;
  maxFrameBytes = defaultMaxFrameBytes;

  constructor(socket: Duplex, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#output = new Output(socket);
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("drain", () => this.#drained());
    socket.on("error", () => this.#close());
    socket.on("close", () => this.#close());
    socket.on("end", () => this.#close());
    this.#greet();
  }

  get pendingBytes(): number {
    return this.#output.pendingBytes;
  }

  /** Counts up with everything received; stands still on a dead connection. */
  get receivedFrames(): number {
    return this.#frames.count;
  }

  get openStreams(): number {
    return this.#streams.size;
  }

  ping(): void {
    this.#output.write(makeFrame(frameType.ping, 0, 0, Buffer.alloc(8)));
  }

  /** Says goodbye and closes. */
  destroy(code: number = h2Error.none): void {
    if (this.#closed) return;
    this.#output.write(goawayFrame(this.#lastStreamId, code));
    this.#output.flush();
    this.#socket.end();
    this.#close();
  }

  addQueued(bytes: number): void {
    this.#queuedBytes += bytes;
  }

  writeHeaders(streamId: number, block: Buffer, endStream: boolean): void {
    const { buffer, at } = this.#output.reserve(frameHeaderBytes + block.length);
    const flags = frameFlag.endHeaders | (endStream ? frameFlag.endStream : 0);
    buffer.set(block, writeFrameHeader(buffer, at, block.length, frameType.headers, flags, streamId));
  }

  /** `onTaken`: the socket has taken these bytes and all before them. */
  writeData(streamId: number, bytes: Uint8Array, onTaken?: () => void): void {
    const { buffer, at } = this.#output.reserve(frameHeaderBytes);
    writeFrameHeader(buffer, at, bytes.length, frameType.data, 0, streamId);
    this.#output.write(bytes, onTaken);
    this.sendWindow -= bytes.length;
  }

  /** Ends a stream without trailers. */
  writeEnd(streamId: number): void {
    const { buffer, at } = this.#output.reserve(frameHeaderBytes);
    writeFrameHeader(buffer, at, 0, frameType.data, frameFlag.endStream, streamId);
  }

  waitForWindow(stream: Http2Stream): void {
    this.#waiting.add(stream);
  }

  /** The response is complete. A client that is still sending is told to stop. */
  finish(stream: Http2Stream): void {
    this.#forget(stream);
    if (!stream.remoteEnded) this.#reset(stream.id, h2Error.none);
  }

  #greet(): void {
    const settings: [number, number][] = [
      [setting.maxConcurrentStreams, maxConcurrentStreams],
      [setting.initialWindowSize, streamWindowBytes],
    ];
    this.#output.write(settingsFrame(settings));
    this.#openWindow(0, connectionWindowBytes - defaultWindowBytes);
  }

  #receive(chunk: Buffer): void {
    if (this.#closed) return;
    try {
      this.#frames.push(chunk);
    } catch (error) {
      this.destroy(error instanceof ConnectionError ? error.code : h2Error.internal);
      return;
    }
    this.#output.flush();
    if (this.#socket.writableLength > maxSocketBacklogBytes) this.#socket.pause();
  }

  #frame(type: number, flags: number, streamId: number, payload: Buffer): void {
    switch (type) {
      case frameType.data:
        this.#onData(flags, streamId, payload);
        break;
      case frameType.headers:
        this.#onHeaders(flags, streamId, payload);
        break;
      case frameType.rstStream:
        this.#onReset(streamId);
        break;
      case frameType.settings:
        this.#onSettings(flags, payload);
        break;
      case frameType.ping:
        if (payload.length !== 8) throw new ConnectionError(h2Error.frameSize, "ping of the wrong size");
        if ((flags & frameFlag.ack) === 0) this.#output.write(makeFrame(frameType.ping, frameFlag.ack, 0, payload));
        break;
      case frameType.windowUpdate:
        this.#onWindowUpdate(streamId, payload);
        break;
      case frameType.pushPromise:
        throw new ConnectionError(h2Error.protocol, "a client cannot push");
      default:
      // GOAWAY needs no answer: the client ends the connection when its calls are done. Priorities and unknown
      // frames are ignored.
    }
  }

  #onHeaders(flags: number, streamId: number, block: Buffer): void {
    const endStream = (flags & frameFlag.endStream) !== 0;
    const headers = readRequestHeaders(this.#hpack, block);
    const known = this.#streams.get(streamId);
    if (known !== undefined) {
      // Trailers of a request: gRPC clients do not send any, but they end the request.
      if (!endStream) throw new ConnectionError(h2Error.protocol, "second header block does not end the stream");
      this.#endRemote(known);
      return;
    }
    if (streamId % 2 === 0) throw new ConnectionError(h2Error.protocol, "invalid stream id");
    // A stream that was answered before its request ended may still see its trailers.
    if (streamId <= this.#lastStreamId) return;
    this.#lastStreamId = streamId;
    if (this.#streams.size >= maxConcurrentStreams || this.#queuedBytes > maxQueuedBytes) {
      this.#reset(streamId, h2Error.refusedStream);
      return;
    }
    const stream = new Http2Stream(streamId, this, this.#initialSendWindow);
    this.#streams.set(streamId, stream);
    this.#options.onRequest(stream, headers);
    if (endStream) this.#endRemote(stream);
  }

  #onData(flags: number, streamId: number, payload: Buffer): void {
    if (streamId === 0 || streamId > this.#lastStreamId)
      throw new ConnectionError(h2Error.protocol, "data without stream");
    this.#unacknowledged += payload.length;
    if (this.#unacknowledged >= connectionWindowBytes / 2) {
      this.#openWindow(0, this.#unacknowledged);
      this.#unacknowledged = 0;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined || stream.remoteEnded) return;
    const endStream = (flags & frameFlag.endStream) !== 0;
    stream.unacknowledged += payload.length;
    if (!endStream && stream.unacknowledged >= streamWindowBytes / 2) {
      this.#openWindow(streamId, stream.unacknowledged);
      stream.unacknowledged = 0;
    }
    const bytes = unpad(flags, payload);
    if (bytes.length > 0) stream.listener?.onData(bytes);
    if (endStream) this.#endRemote(stream);
  }

  #endRemote(stream: Http2Stream): void {
    if (stream.remoteEnded) return;
    stream.remoteEnded = true;
    stream.listener?.onEnd();
  }

  #onReset(streamId: number): void {
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    this.#forget(stream);
    stream.abort();
  }

  #onSettings(flags: number, payload: Buffer): void {
    if ((flags & frameFlag.ack) !== 0) return;
    if (payload.length % 6 !== 0) throw new ConnectionError(h2Error.frameSize, "settings of the wrong size");
    for (let at = 0; at < payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      switch (payload.readUInt16BE(at)) {
        case setting.initialWindowSize: {
          if (value > maxWindowBytes) throw new ConnectionError(h2Error.flowControl, "window too large");
          const change = value - this.#initialSendWindow;
          this.#initialSendWindow = value;
          for (const stream of this.#streams.values()) stream.sendWindow += change;
          break;
        }
        case setting.maxFrameSize:
          // Larger frames than 64 KiB would only keep other calls waiting.
          this.maxFrameBytes = Math.min(Math.max(value, defaultMaxFrameBytes), 64 * 1_024 - frameHeaderBytes);
          break;
      }
    }
    this.#output.write(makeFrame(frameType.settings, frameFlag.ack, 0, Buffer.alloc(0)));
    this.#pumpWaiting();
  }

  #onWindowUpdate(streamId: number, payload: Buffer): void {
    if (payload.length !== 4) throw new ConnectionError(h2Error.frameSize, "window update of the wrong size");
    const bytes = payload.readUInt32BE(0) & maxWindowBytes;
    if (bytes === 0) throw new ConnectionError(h2Error.protocol, "window update of nothing");
    if (streamId === 0) {
      this.sendWindow += bytes;
      if (this.sendWindow > maxWindowBytes) throw new ConnectionError(h2Error.flowControl, "window too large");
      this.#pumpWaiting();
      return;
    }
    const stream = this.#streams.get(streamId);
    if (stream === undefined) return;
    stream.sendWindow += bytes;
    if (stream.sendWindow > maxWindowBytes) throw new ConnectionError(h2Error.flowControl, "window too large");
    if (this.#waiting.delete(stream)) this.#resume(stream);
  }

  /** Gives each stream that waits a part of the window, in turn. */
  #pumpWaiting(): void {
    for (const stream of [...this.#waiting]) {
      if (this.sendWindow <= 0) return;
      this.#waiting.delete(stream);
      this.#resume(stream);
    }
  }

  #resume(stream: Http2Stream): void {
    stream.pump();
    stream.listener?.onDrain();
  }

  #drained(): void {
    if (this.#socket.isPaused()) this.#socket.resume();
    for (const stream of this.#streams.values()) stream.listener?.onDrain();
  }

  #openWindow(streamId: number, bytes: number): void {
    this.#output.write(numberFrame(frameType.windowUpdate, streamId, bytes));
  }

  #reset(streamId: number, code: number): void {
    this.#output.write(numberFrame(frameType.rstStream, streamId, code));
  }

  #forget(stream: Http2Stream): void {
    this.#streams.delete(stream.id);
    this.#waiting.delete(stream);
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#frames.stop();
    this.#socket.end();
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    this.#waiting.clear();
    for (const stream of streams) stream.abort();
    this.#options.onClosed();
  }
}

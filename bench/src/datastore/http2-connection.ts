import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { HpackEncoder } from "./hpack-encoder.ts";

const frameTypes = { data: 0, headers: 1, rstStream: 3, settings: 4, ping: 6, goAway: 7, windowUpdate: 8 } as const;
const flags = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8 } as const;
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const maxWindow = 0x7fff_ffff;
const grpcPrefixBytes = 5;
const frameHeaderBytes = 9;

/** A gRPC call under way. */
interface Call {
  chunks: Buffer[];
  buffered: number;
  onMessage: (message: Buffer) => void;
  onEnd: () => void;
}

/**
 * A gRPC client connection over HTTP/2, written for load: one buffer a request, no stream objects, responses handed over
 * as bytes. It exists so that the load generator costs a fraction of what the server does; `node:http2` would not.
 * It reads what gRPC servers send and nothing more: an answer without a message counts as failed.
 */
export class Http2Connection {
  readonly #socket: Socket;
  readonly #authority: string;
  readonly #hpack = new HpackEncoder();
  readonly #calls = new Map<number, Call>();
  #nextStream = 1;
  #rest: Buffer | undefined;
  #received = 0;
  #corked = false;

  private constructor(socket: Socket, authority: string) {
    this.#socket = socket;
    this.#authority = authority;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#read(chunk));
    socket.on("close", () => this.#failAll());
    socket.on("error", () => socket.destroy());
  }

  static async open(url: string): Promise<Http2Connection> {
    const { hostname, port, host } = new URL(url);
    const socket = connect(Number(port), hostname);
    await once(socket, "connect");
    const connection = new Http2Connection(socket, host);
    const settings = Buffer.alloc(12);
    settings.writeUInt16BE(2, 0); // ENABLE_PUSH = 0
    settings.writeUInt16BE(4, 6); // INITIAL_WINDOW_SIZE
    settings.writeUInt32BE(maxWindow, 8);
    socket.write(preface);
    socket.write(frame(frameTypes.settings, 0, 0, settings));
    socket.write(frame(frameTypes.windowUpdate, 0, 0, uint32(maxWindow - 65_535)));
    return connection;
  }

  /** Sends one message and half-closes. `done` gets the answer's message, or undefined when the call failed. */
  unary(path: string, message: Buffer, done: (answer: Buffer | undefined) => void): void {
    let answer: Buffer | undefined;
    this.#open(path, message, true, {
      chunks: [],
      buffered: 0,
      onMessage: (received) => {
        answer = received;
      },
      onEnd: () => done(answer),
    });
  }

  /** Sends one message and leaves the stream open. */
  stream(path: string, message: Buffer, onMessage: (message: Buffer) => void, onEnd: () => void): void {
    this.#open(path, message, false, { chunks: [], buffered: 0, onMessage, onEnd });
  }

  close(): void {
    this.#calls.clear();
    this.#socket.destroy();
  }

  #open(path: string, message: Buffer, endStream: boolean, call: Call): void {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    this.#calls.set(stream, call);
    const headers = this.#hpack.encode([
      [":method", "POST"],
      [":scheme", "http"],
      [":path", path],
      [":authority", this.#authority],
      ["content-type", "application/grpc"],
      ["te", "trailers"],
    ]);
    const dataAt = frameHeaderBytes + headers.length;
    const out = Buffer.allocUnsafe(dataAt + frameHeaderBytes + grpcPrefixBytes + message.length);
    writeFrameHeader(out, 0, headers.length, frameTypes.headers, flags.endHeaders, stream);
    headers.copy(out, frameHeaderBytes);
    const length = grpcPrefixBytes + message.length;
    writeFrameHeader(out, dataAt, length, frameTypes.data, endStream ? flags.endStream : 0, stream);
    out[dataAt + frameHeaderBytes] = 0;
    out.writeUInt32BE(message.length, dataAt + frameHeaderBytes + 1);
    message.copy(out, dataAt + frameHeaderBytes + grpcPrefixBytes);
    this.#write(out);
  }

  /** Everything that one turn of the event loop sends goes out in one system call. */
  #write(bytes: Buffer): void {
    if (this.#socket.destroyed) {
      this.#failAll();
      return;
    }
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(bytes);
  }

  #read(chunk: Buffer): void {
    const bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (bytes.length - at >= frameHeaderBytes) {
      const end = at + frameHeaderBytes + bytes.readUIntBE(at, 3);
      if (end > bytes.length) break;
      this.#frame(
        bytes[at + 3]!,
        bytes[at + 4]!,
        bytes.readUInt32BE(at + 5),
        bytes.subarray(at + frameHeaderBytes, end),
      );
      at = end;
    }
    this.#rest = at === bytes.length ? undefined : bytes.subarray(at);
  }

  #frame(type: number, flag: number, stream: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.data: {
        this.#received += payload.length;
        if (this.#received > maxWindow / 2) {
          this.#write(frame(frameTypes.windowUpdate, 0, 0, uint32(this.#received)));
          this.#received = 0;
        }
        if (flag & flags.padded) throw new Error("padded DATA frames are not expected from gRPC servers");
        const call = this.#calls.get(stream);
        if (call !== undefined) receive(call, payload);
        if (flag & flags.endStream) this.#end(stream);
        break;
      }
      case frameTypes.headers:
        if (flag & flags.endStream) this.#end(stream);
        break;
      case frameTypes.rstStream:
        this.#end(stream);
        break;
      case frameTypes.settings:
        if (!(flag & flags.ack)) this.#write(frame(frameTypes.settings, flags.ack, 0, Buffer.alloc(0)));
        break;
      case frameTypes.ping:
        if (!(flag & flags.ack)) this.#write(frame(frameTypes.ping, flags.ack, 0, payload));
        break;
      case frameTypes.goAway:
        this.#socket.destroy();
        break;
    }
  }

  #end(stream: number): void {
    const call = this.#calls.get(stream);
    this.#calls.delete(stream);
    call?.onEnd();
  }

  #failAll(): void {
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const call of calls) call.onEnd();
  }
}

/** Takes a piece of a call's body and hands over the messages that are complete. */
function receive(call: Call, payload: Buffer): void {
  call.chunks.push(payload);
  call.buffered += payload.length;
  while (call.buffered >= grpcPrefixBytes) {
    if (call.chunks[0]!.length < grpcPrefixBytes) call.chunks = [Buffer.concat(call.chunks)];
    const length = grpcPrefixBytes + call.chunks[0]!.readUInt32BE(1);
    if (call.buffered < length) return;
    const bytes = call.chunks.length === 1 ? call.chunks[0]! : Buffer.concat(call.chunks);
    const rest = bytes.subarray(length);
    call.chunks = rest.length === 0 ? [] : [rest];
    call.buffered = rest.length;
    call.onMessage(bytes.subarray(grpcPrefixBytes, length));
  }
}

function frame(type: number, flag: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(frameHeaderBytes + payload.length);
  writeFrameHeader(bytes, 0, payload.length, type, flag, stream);
  payload.copy(bytes, frameHeaderBytes);
  return bytes;
}

function writeFrameHeader(to: Buffer, at: number, length: number, type: number, flag: number, stream: number): void {
  to.writeUIntBE(length, at, 3);
  to[at + 3] = type;
  to[at + 4] = flag;
  to.writeUInt32BE(stream, at + 5);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

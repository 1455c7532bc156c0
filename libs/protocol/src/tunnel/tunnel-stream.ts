import { Duplex } from "node:stream";
import { type DialError, TunnelStreamError } from "./errors.ts";
import type { Multiplexer } from "./multiplexer.ts";
import type { StreamEnd } from "./multiplexer-options.ts";

/** Unread bytes a stream holds for its reader before it leaves the rest to flow control. */
const readableHighMark = 64 * 1024;

/**
 * One stream of a tunnel as a Duplex. It ends (`end`) when the other side is done, errors with a TunnelStreamError when it
 * failed, and is told apart from a dial that failed by {@link TunnelStream.opened}.
 */
export class TunnelStream extends Duplex {
  readonly id: number;
  readonly #mux: Multiplexer;
  readonly #streams: Map<number, TunnelStream>;
  /** Received, not yet handed to the reader; its bytes are not given back to the sender. */
  #backlog: Buffer[] = [];
  #backlogHead = 0;
  #reading = false;
  #remoteEnded = false;
  #closed = false;
  #failure: Error | undefined;
  #writeDone: (() => void) | undefined;
  #opened: { promise: Promise<void>; resolve: () => void; reject: (error: Error) => void } | undefined;
  #openState: "pending" | "open" | Error;

  /** For the session only: `streams` are its streams by id, which this one leaves when it is destroyed. */
  constructor(id: number, mux: Multiplexer, streams: Map<number, TunnelStream>, opened: boolean) {
    super({ allowHalfOpen: true, emitClose: true, readableHighWaterMark: readableHighMark });
    this.id = id;
    this.#mux = mux;
    this.#streams = streams;
    this.#openState = opened ? "open" : "pending";
  }

  /** Resolves when the other end has dialled, at once when it does not say so; rejects with a DialError. */
  get opened(): Promise<void> {
    if (this.#openState === "open") return Promise.resolve();
    if (this.#openState !== "pending") return Promise.reject(this.#openState);
    if (this.#opened === undefined) {
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      this.#opened = { promise, resolve, reject };
    }
    return this.#opened.promise;
  }

  // ---- from the session ---------------------------------------------------------------------------------------------

  /** For the session: the dial was acknowledged. */
  markOpened(): void {
    this.#openState = "open";
    this.#opened?.resolve();
  }

  /** For the session: bytes arrived. */
  receive(piece: Buffer): void {
    if (this.#closed) return;
    // A small piece would keep the whole chunk it was read in alive, for as long as the reader is away.
    const taken = this.readableFlowing === true && this.readableLength === 0 && this.#backlog.length === 0;
    const own = !taken && piece.length * 2 < piece.buffer.byteLength ? Buffer.from(piece) : piece;
    if (this.#reading && this.#backlog.length === 0) this.#hand(own);
    else this.#backlog.push(own);
  }

  /** For the session: the other side sends no more. */
  receiveEnd(): void {
    this.#remoteEnded = true;
    this.#pump();
  }

  /** For the session: the stream is gone; what was received is still read first. */
  receiveClose(end: StreamEnd): void {
    if (this.#closed) return;
    if (end.kind === "dial-failed") this.#failOpen(end.error);
    else if (this.#openState === "pending") this.#failOpen(this.#errorOf(end));
    this.#remoteEnded = true;
    this.#failure = end.kind === "end" ? undefined : this.#errorOf(end);
    this.#closed = true;
    // Whoever waits to write must learn of it even though the reader has not caught up.
    this.#releaseWriter();
    if (this.#failure !== undefined && this.#backlog.length === 0) this.destroy(this.#failure);
    else this.#pump();
    if (this.#failure === undefined && !this.writableEnded) this.end();
  }

  /** For the session: the queue has room. */
  markWritable(): void {
    this.#releaseWriter();
  }

  // ---- Duplex -------------------------------------------------------------------------------------------------------

  override _read(): void {
    this.#reading = true;
    this.#pump();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    if (this.#closed) return void done(this.#failure);
    if (this.#mux.write(this.id, chunk)) done();
    else this.#writeDone = done;
  }

  override _writev(chunks: { chunk: Buffer }[], done: (error?: Error | null) => void): void {
    if (this.#closed) return void done(this.#failure);
    let room = true;
    for (const { chunk } of chunks) room = this.#mux.write(this.id, chunk);
    if (room) done();
    else this.#writeDone = done;
  }

  override _final(done: (error?: Error | null) => void): void {
    // Not finished before the last byte and the end went out: a finished stream that has also ended destroys itself.
    if (this.#closed || this.#mux.endWrite(this.id)) done();
    else this.#writeDone = done;
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!this.#closed) {
      this.#closed = true;
      this.#mux.close(this.id, error === null ? undefined : error.message);
    }
    if (this.#openState === "pending") this.#failOpen(error ?? new TunnelStreamError("stream was closed"));
    this.#backlog = [];
    if (this.#streams.get(this.id) === this) this.#streams.delete(this.id);
    this.#releaseWriter();
    done(error);
  }

  #pump(): void {
    while (this.#reading && this.#backlogHead < this.#backlog.length) {
      this.#hand(this.#backlog[this.#backlogHead++]!);
    }
    if (this.#backlogHead < this.#backlog.length) return;
    this.#backlog = [];
    this.#backlogHead = 0;
    if (!this.#remoteEnded || this.readableEnded) return;
    if (this.#failure !== undefined) this.destroy(this.#failure);
    else this.push(null);
  }

  #hand(piece: Buffer): void {
    this.#reading = this.push(piece);
    this.#mux.consumed(this.id, piece.length);
  }

  #releaseWriter(): void {
    const done = this.#writeDone;
    this.#writeDone = undefined;
    done?.();
  }

  #failOpen(error: Error): void {
    this.#openState = error;
    this.#opened?.reject(error);
  }

  #errorOf(end: StreamEnd): Error {
    if (end.kind === "dial-failed") return end.error;
    return new TunnelStreamError(end.kind === "error" ? end.message : "stream ended before it was open");
  }
}

/** Whether an error of a dial is the peer's answer rather than the tunnel's loss. */
export function isDialError(error: unknown): error is DialError {
  return error instanceof Error && error.name === "DialError";
}

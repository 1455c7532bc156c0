import type { Duplex } from "node:stream";

/** Small pieces are gathered in buffers of this size. */
const stagingBytes = 64 * 1_024;
/** From this size on, keeping track of one more piece is cheaper than copying it. */
const directBytes = 8 * 1_024;
const maxPooled = 16;

/** A buffer that small pieces are gathered in, and how many writes of it the socket has not finished. */
interface Staging {
  buffer: Buffer;
  outstanding: number;
}

const pool: Staging[] = [];

/**
 * Gathers everything that one turn of the event loop writes to a socket into one write: small pieces are copied together,
 * large ones go along as they are.
 */
export class Output {
  readonly #socket: Duplex;
  #staging: Staging | undefined;
  /** The part of the staging buffer that is filled and not handed over yet. */
  #start = 0;
  #end = 0;
  #scheduled = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Bytes that the socket has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength + this.#end - this.#start;
  }

  /** Room for `length` bytes (at most {@link stagingBytes}) that the caller fills at once. */
  reserve(length: number): { buffer: Buffer; at: number } {
    if (this.#staging === undefined || this.#end + length > stagingBytes) this.#renew();
    this.#schedule();
    const at = this.#end;
    this.#end += length;
    return { buffer: this.#staging!.buffer, at };
  }

  /** `onTaken`: the bytes, and all of the same memory before them, are not looked at any more. */
  write(bytes: Uint8Array, onTaken?: () => void): void {
    if (bytes.length < directBytes && onTaken === undefined) {
      const { buffer, at } = this.reserve(bytes.length);
      buffer.set(bytes, at);
      return;
    }
    this.#schedule();
    this.#handOver();
    if (this.#socket.destroyed) return;
    if (onTaken === undefined) this.#socket.write(bytes);
    else this.#socket.write(bytes, (error) => error ?? onTaken());
  }

  /** Lets the socket write what was handed over since the last time. */
  flush(): void {
    this.#handOver();
    if (this.#scheduled) this.#socket.uncork();
    this.#scheduled = false;
  }

  #handOver(): void {
    const staging = this.#staging;
    if (staging === undefined || this.#end === this.#start) return;
    const bytes = staging.buffer.subarray(this.#start, this.#end);
    this.#start = this.#end;
    if (this.#socket.destroyed) return;
    staging.outstanding++;
    this.#socket.write(bytes, () => {
      staging.outstanding--;
      if (staging !== this.#staging) recycle(staging);
    });
  }

  #renew(): void {
    this.#handOver();
    const full = this.#staging;
    this.#staging = pool.pop() ?? { buffer: Buffer.allocUnsafeSlow(stagingBytes), outstanding: 0 };
    this.#start = 0;
    this.#end = 0;
    if (full !== undefined) recycle(full);
  }

  /** From the first piece of a turn on, the socket holds back; the turn's end lets it go. */
  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.#socket.cork();
    queueMicrotask(() => this.flush());
  }
}

function recycle(staging: Staging): void {
  if (staging.outstanding === 0 && pool.length < maxPooled) pool.push(staging);
}

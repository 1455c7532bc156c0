import type { Duplex } from "node:stream";

/** Small pieces are gathered in buffers of this size; larger ones are handed over as they are. */
const stagingBytes = 64 * 1_024;
const maxPooled = 16;
const pool: Buffer[] = [];

/**
 * Gathers everything that one turn of the event loop writes to a socket into few writes. Copying a kilobyte costs less
 * than giving the socket one more piece to keep track of.
 */
export class Output {
  readonly #socket: Duplex;
  #staging: Buffer | undefined;
  #staged = 0;
  #scheduled = false;

  constructor(socket: Duplex) {
    this.#socket = socket;
  }

  /** Bytes that the socket has not taken yet. */
  get pendingBytes(): number {
    return this.#socket.writableLength + this.#staged;
  }

  /** Room for `length` bytes (at most {@link stagingBytes}) that the caller fills at once. */
  reserve(length: number): { buffer: Buffer; at: number } {
    if (this.#staged + length > stagingBytes) this.flush();
    this.#staging ??= pool.pop() ?? Buffer.allocUnsafeSlow(stagingBytes);
    const at = this.#staged;
    this.#staged += length;
    this.#schedule();
    return { buffer: this.#staging, at };
  }

  write(bytes: Uint8Array): void {
    if (bytes.length > stagingBytes / 4) {
      this.flush();
      this.#socket.write(bytes);
      return;
    }
    const { buffer, at } = this.reserve(bytes.length);
    buffer.set(bytes, at);
  }

  flush(): void {
    if (this.#staging === undefined) return;
    const staging = this.#staging;
    const bytes = staging.subarray(0, this.#staged);
    this.#staging = undefined;
    this.#staged = 0;
    if (this.#socket.destroyed) return;
    this.#socket.write(bytes, () => {
      if (pool.length < maxPooled) pool.push(staging);
    });
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    queueMicrotask(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}

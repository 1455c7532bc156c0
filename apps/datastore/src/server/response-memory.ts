/** Smaller responses are left to the allocator, which serves them faster than any bookkeeping. */
const leastBytes = 64 * 1_024;
/** Larger ones are rare, and would keep more than they are worth. */
const mostBytes = 8 << 20;
/** What is kept for the next responses. */
const maxKeptBytes = 32 << 20;
/** Kept memory that no response wanted for so long is let go. */
const keepMs = 5_000;

/**
 * Memory of large responses, used again as soon as the socket has taken them. Each page of a list in memory of its own
 * costs more than the copying: the kernel hands it out page by page, and V8 stops everything to get it back.
 *
 * Whoever does not give memory back only leaves it to the collector.
 */
export class ResponseMemory {
  /** By size of the buffers; see {@link sizeClass}. */
  readonly #kept = new Map<number, ArrayBufferLike[]>();
  /** Out with a response. */
  readonly #taken = new WeakSet<ArrayBufferLike>();
  #keptBytes = 0;
  #wanted = false;
  #sweep: NodeJS.Timeout | undefined;

  /** Room for a response of exactly so many bytes, of unknown content. */
  take(bytes: number): Buffer {
    if (bytes < leastBytes || bytes > mostBytes) return Buffer.allocUnsafe(bytes);
    this.#wanted = true;
    const size = sizeClass(bytes);
    let memory = this.#kept.get(size)?.pop();
    if (memory === undefined) memory = Buffer.allocUnsafeSlow(size).buffer;
    else this.#keptBytes -= size;
    this.#taken.add(memory);
    return Buffer.from(memory, 0, bytes);
  }

  /** Whether it can be given back. */
  isOwn(response: Buffer): boolean {
    return response.length >= leastBytes && this.#taken.has(response.buffer);
  }

  /** Takes back what {@link take} gave, when nobody will look at it any more. */
  giveBack({ buffer }: Buffer): void {
    if (!this.#taken.delete(buffer) || this.#keptBytes + buffer.byteLength > maxKeptBytes) return;
    this.#keptBytes += buffer.byteLength;
    const kept = this.#kept.get(buffer.byteLength);
    if (kept === undefined) this.#kept.set(buffer.byteLength, [buffer]);
    else kept.push(buffer);
    this.#sweep ??= setInterval(() => this.#letGo(), keepMs).unref();
  }

  get keptBytes(): number {
    return this.#keptBytes;
  }

  #letGo(): void {
    if (this.#wanted) {
      this.#wanted = false;
      return;
    }
    clearInterval(this.#sweep);
    this.#sweep = undefined;
    this.#kept.clear();
    this.#keptBytes = 0;
  }
}

/** The next size of memory that holds so many bytes: a quarter of a power of two apart, so that little stays unused. */
function sizeClass(bytes: number): number {
  const step = 2 ** (Math.floor(Math.log2(bytes)) - 2);
  return Math.ceil(bytes / step) * step;
}

/** The memory of this process's responses. */
export const responseMemory = new ResponseMemory();

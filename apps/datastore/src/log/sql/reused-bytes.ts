const firstBlockBytes = 1 << 20;
const largestBlockBytes = 4 << 20;

/**
 * Room for bytes that are used at once and not kept, the same for every query. A page of values read into memory of its own
 * each time is what makes V8 stop everything to collect it.
 */
export class ReusedBytes {
  #block = Buffer.allocUnsafeSlow(firstBlockBytes);
  #used = 0;

  /** What was copied before may be overwritten from now on. */
  reuse(): void {
    this.#used = 0;
  }

  /** A copy that is there until the next {@link reuse}. */
  copy(bytes: Uint8Array): Uint8Array {
    if (this.#used + bytes.length > this.#block.length) {
      if (this.#block.length >= largestBlockBytes) return Buffer.from(bytes);
      // What has been copied stays where it is, for as long as somebody holds it.
      this.#block = Buffer.allocUnsafeSlow(largestBlockBytes);
      this.#used = 0;
      if (bytes.length > largestBlockBytes) return Buffer.from(bytes);
    }
    this.#block.set(bytes, this.#used);
    this.#used += bytes.length;
    return this.#block.subarray(this.#used - bytes.length, this.#used);
  }
}

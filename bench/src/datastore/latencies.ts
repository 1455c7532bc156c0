/** Latencies in milliseconds, kept one by one so that percentiles are exact. */
export class Latencies {
  #values = new Float64Array(1 << 14);
  count = 0;

  add(ms: number): void {
    if (this.count === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.count++] = ms;
  }

  /** The smallest latency that `share` (0 to 1) of all do not exceed; 0 when there is none. */
  percentile(share: number): number {
    if (this.count === 0) return 0;
    const sorted = this.#values.slice(0, this.count).sort();
    return sorted[Math.min(this.count - 1, Math.ceil(share * this.count) - 1)]!;
  }
}

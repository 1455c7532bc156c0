/** A handshake costs about half a millisecond of signing; this many are started before other connections get a turn. */
const perTurn = 4;

/**
 * Starts TLS handshakes a few per turn of the event loop, first come first served. When a thousand agents knock at the
 * same moment, the answers on established connections (a `/readyz`, a watch) still leave between them.
 */
export class HandshakeQueue {
  #waiting: (() => void)[] = [];
  #next = 0;
  #scheduled = false;

  push(start: () => void): void {
    this.#waiting.push(start);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    const end = Math.min(this.#next + perTurn, this.#waiting.length);
    while (this.#next < end) this.#waiting[this.#next++]?.();
    if (this.#next < this.#waiting.length) {
      setImmediate(() => this.#turn());
      return;
    }
    this.#waiting = [];
    this.#next = 0;
    this.#scheduled = false;
  }
}

import { createHmac, createSecretKey, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * Remembers which password was last checked against a stored hash, and with which result, so that the next check costs
 * microseconds instead of a scrypt. Holds no password: only a keyed digest of hash and password, under a key that this
 * process drew. Least recently used entries go first.
 */
export class VerifiedCache {
  readonly #key = createSecretKey(randomBytes(32));
  readonly #capacity: number;
  readonly #entries = new Map<string, Buffer>();

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  /** Whether this very password was remembered for this hash. */
  has(storedHash: string, password: string): boolean {
    const known = this.#entries.get(storedHash);
    if (known === undefined || !timingSafeEqual(known, this.digest(storedHash, password))) return false;
    this.#entries.delete(storedHash);
    this.#entries.set(storedHash, known);
    return true;
  }

  remember(storedHash: string, password: string): void {
    this.#entries.delete(storedHash);
    if (this.#entries.size >= this.#capacity) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(storedHash, this.digest(storedHash, password));
  }

  /** The keyed digest of a password in a context. */
  digest(context: string, password: string): Buffer {
    return createHmac("sha256", this.#key).update(context).update("\0").update(password).digest();
  }
}

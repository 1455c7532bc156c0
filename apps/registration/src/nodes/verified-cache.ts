import { createHash, createHmac, createSecretKey, type KeyObject, randomBytes, timingSafeEqual } from "node:crypto";

/**
 * Remembers which password was last checked against a stored hash, and with which result, so that the next check costs
 * microseconds instead of a scrypt. Holds neither password nor hash: only a keyed digest of both, under a key that this
 * process drew or was given. Least recently used entries go first.
 */
export class VerifiedCache {
  readonly #capacity: number;
  #key: KeyObject;
  /** By fingerprint of the stored hash. */
  readonly #entries = new Map<string, Buffer>();
  /** Grows with each entry that is new. */
  #version = 0;

  constructor(capacity: number, key: Uint8Array = randomBytes(32)) {
    this.#capacity = capacity;
    this.#key = createSecretKey(key);
  }

  get version(): number {
    return this.#version;
  }

  /** Whether this very password was remembered for this hash. */
  has(storedHash: string, password: string): boolean {
    const fingerprint = fingerprintOf(storedHash);
    const known = this.#entries.get(fingerprint);
    if (known === undefined || !timingSafeEqual(known, this.digest(storedHash, password))) return false;
    this.#entries.delete(fingerprint);
    this.#entries.set(fingerprint, known);
    return true;
  }

  remember(storedHash: string, password: string): void {
    this.#set(fingerprintOf(storedHash), this.digest(storedHash, password));
  }

  /** The keyed digest of a password in a context. */
  digest(context: string, password: string): Buffer {
    return createHmac("sha256", this.#key).update(context).update("\0").update(password).digest();
  }

  /** Everything that is remembered, which means something only under the same key. */
  entries(): [fingerprint: string, digest: string][] {
    return [...this.#entries].map(([fingerprint, digest]) => [fingerprint, digest.toString("base64")]);
  }

  /** Goes on under another key, with what was remembered under it. */
  restore(key: Uint8Array, entries: readonly (readonly [string, string])[]): void {
    this.#key = createSecretKey(key);
    this.#entries.clear();
    for (const [fingerprint, text] of entries) {
      const digest = Buffer.from(text, "base64");
      if (digest.length === 32) this.#set(fingerprint, digest);
    }
  }

  #set(fingerprint: string, digest: Buffer): void {
    this.#version++;
    this.#entries.delete(fingerprint);
    if (this.#entries.size >= this.#capacity) this.#entries.delete(this.#entries.keys().next().value!);
    this.#entries.set(fingerprint, digest);
  }
}

function fingerprintOf(storedHash: string): string {
  return createHash("sha256").update(storedHash).digest("base64url");
}

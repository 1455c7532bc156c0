import { hash, randomBytes, timingSafeEqual } from "node:crypto";

const comparisonKey = randomBytes(32);

/** Compares two secrets in a time that depends on neither their content nor whether their lengths agree. */
export function secretsEqual(a: string, b: string): boolean {
  return timingSafeEqual(keyedDigest(a), keyedDigest(b));
}

/** Digests under a key that nobody knows, so that how far two of them agree says nothing about the secrets. */
function keyedDigest(value: string): Buffer {
  return hash("sha256", Buffer.concat([comparisonKey, Buffer.from(value)]), "buffer");
}

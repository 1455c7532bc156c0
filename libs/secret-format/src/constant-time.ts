import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

const comparisonKey = randomBytes(32);

/** Compares two secrets in a time that depends on neither their content nor whether their lengths agree. */
export function secretsEqual(a: string | Uint8Array, b: string | Uint8Array): boolean {
  const digest = (value: string | Uint8Array): Buffer => createHmac("sha256", comparisonKey).update(value).digest();
  return timingSafeEqual(digest(a), digest(b));
}

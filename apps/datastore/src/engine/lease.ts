import type { KeyEntry } from "./version.ts";

/**
 * A lease as keys refer to it. A lease that is gone stays referenced by old versions, which keep showing its id.
 */
export class Lease {
  readonly id: bigint;
  readonly ttlSeconds: number;
  /** False for the lease of one key that kine wrote, which stores a TTL and no lease id. */
  readonly listed: boolean;
  /** Monotonic time at which it expires unless it is renewed. */
  deadlineMs: number;
  /** Keys whose newest version carries the lease. */
  readonly attached = new Set<KeyEntry>();
  /** An expiry is on its way through the queue; the lease is not offered for expiry again until that ends. */
  expiring = false;
  /** When a renewal was last written for other replicas to see. */
  announcedMs = Number.NEGATIVE_INFINITY;

  constructor(id: bigint, ttlSeconds: number, deadlineMs: number, listed = true) {
    this.id = id;
    this.ttlSeconds = ttlSeconds;
    this.deadlineMs = deadlineMs;
    this.listed = listed;
  }
}

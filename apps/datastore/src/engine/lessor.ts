import { Lease } from "./lease.ts";

/** etcd's smallest TTL at default settings: 1.5 election timeouts, rounded up. Shorter requests are raised to it. */
export const minLeaseTtlSeconds = 2;
/** etcd refuses a longer TTL with "too large lease TTL". */
export const maxLeaseTtlSeconds = 9_000_000_000;

/**
 * The live leases and when they are due. Time comes in as an argument (monotonic milliseconds). A due lease is only
 * offered for expiry; it ends when the revocation that follows is committed, so that expiry happens once and is durable.
 */
export class Lessor {
  readonly #leases = new Map<bigint, Lease>();
  /** Binary heap by deadline. A renewed lease stays where it is and is moved when it comes to the top. */
  readonly #queue: { lease: Lease; dueMs: number }[] = [];

  get size(): number {
    return this.#leases.size;
  }

  get(id: bigint): Lease | undefined {
    return this.#leases.get(id);
  }

  /** The lease a stored row names: the live one, or a stand-in that only remembers its id. */
  reference(id: bigint): Lease {
    return this.#leases.get(id) ?? new Lease(id, 0, Number.POSITIVE_INFINITY);
  }

  grant(id: bigint, ttlSeconds: number, nowMs: number): Lease {
    const lease = new Lease(id, ttlSeconds, nowMs + ttlSeconds * 1_000);
    this.#leases.set(id, lease);
    this.#push(lease, lease.deadlineMs);
    return lease;
  }

  /**
   * A lease without an identity of its own: kine stores only a TTL with each key, so each such key expires alone and
   * shows its TTL as the lease id, as kine shows it.
   */
  unlisted(ttlSeconds: number): Lease {
    return new Lease(BigInt(ttlSeconds), ttlSeconds, Number.POSITIVE_INFINITY, false);
  }

  /** Starts the time of an unlisted lease, once a key that is alive carries it. */
  arm(lease: Lease, nowMs: number): void {
    if (lease.listed || lease.deadlineMs !== Number.POSITIVE_INFINITY) return;
    this.renew(lease, nowMs);
    this.#push(lease, lease.deadlineMs);
  }

  /** Takes a lease back after a failed revocation. */
  restore(lease: Lease): void {
    lease.expiring = false;
    if (lease.listed) this.#leases.set(lease.id, lease);
    this.#push(lease, lease.deadlineMs);
  }

  /** Ends a lease. Its deadline stays, for {@link restore}. */
  remove(lease: Lease): void {
    lease.expiring = true;
    if (this.#leases.get(lease.id) === lease) this.#leases.delete(lease.id);
  }

  renew(lease: Lease, nowMs: number): void {
    lease.deadlineMs = nowMs + lease.ttlSeconds * 1_000;
  }

  clear(): void {
    this.#leases.clear();
    this.#queue.length = 0;
  }

  /** Gives every lease its full TTL again, as a new leader does. */
  renewAll(nowMs: number): void {
    for (const lease of this.#leases.values()) this.renew(lease, nowMs);
  }

  /** All live leases, the one that expires first in front. */
  list(): Lease[] {
    return [...this.#leases.values()].sort((a, b) => a.deadlineMs - b.deadlineMs);
  }

  /** Up to `limit` leases whose time is over; each is marked as expiring. */
  takeDue(nowMs: number, limit: number): Lease[] {
    const due: Lease[] = [];
    while (due.length < limit && this.#queue.length > 0 && this.#queue[0]!.dueMs <= nowMs) {
      const { lease } = this.#pop();
      if (lease.expiring) continue;
      if (lease.deadlineMs > nowMs) {
        this.#push(lease, lease.deadlineMs);
        continue;
      }
      lease.expiring = true;
      due.push(lease);
    }
    return due;
  }

  /** Offers a lease again whose expiry could not be committed. */
  postpone(lease: Lease, dueMs: number): void {
    lease.expiring = false;
    this.#push(lease, dueMs);
  }

  #push(lease: Lease, dueMs: number): void {
    const queue = this.#queue;
    let at = queue.length;
    queue.push({ lease, dueMs });
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (queue[parent]!.dueMs <= queue[at]!.dueMs) break;
      [queue[parent], queue[at]] = [queue[at]!, queue[parent]!];
      at = parent;
    }
  }

  #pop(): { lease: Lease; dueMs: number } {
    const queue = this.#queue;
    const top = queue[0]!;
    const last = queue.pop()!;
    if (queue.length === 0) return top;
    queue[0] = last;
    let at = 0;
    for (;;) {
      const left = 2 * at + 1;
      if (left >= queue.length) break;
      const right = left + 1;
      const smaller = right < queue.length && queue[right]!.dueMs < queue[left]!.dueMs ? right : left;
      if (queue[at]!.dueMs <= queue[smaller]!.dueMs) break;
      [queue[at], queue[smaller]] = [queue[smaller]!, queue[at]!];
      at = smaller;
    }
    return top;
  }
}

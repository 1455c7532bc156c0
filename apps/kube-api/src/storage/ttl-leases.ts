import type { EtcdClient } from "@keelson/etcd-client";
import type { Clock } from "@keelson/service";

/** Objects that may share one lease. Source: apiserver etcd3 lease_manager.go. */
const maxObjectsPerLease = 1_000;
const reuseWindowMs = 60_000;

/** Leases for objects with a time to live: neighbours in time share one, so that events do not make a lease each. */
export class TtlLeases {
  readonly #etcd: EtcdClient;
  readonly #clock: Clock;
  readonly #current = new Map<number, { id: Promise<bigint>; untilMs: number; objects: number }>();

  constructor(etcd: EtcdClient, clock: Clock) {
    this.#etcd = etcd;
    this.#clock = clock;
  }

  async forTtl(ttlSeconds: number): Promise<bigint> {
    const now = this.#clock.monotonic();
    const shared = this.#current.get(ttlSeconds);
    if (shared !== undefined && now < shared.untilMs && shared.objects < maxObjectsPerLease) {
      shared.objects++;
      return shared.id;
    }
    const windowSeconds = Math.min(reuseWindowMs / 1_000, Math.ceil(ttlSeconds * 0.05));
    const id = this.#etcd.leaseGrant(ttlSeconds + windowSeconds).then((granted) => granted.id);
    this.#current.set(ttlSeconds, { id, untilMs: now + windowSeconds * 1_000, objects: 1 });
    try {
      return await id;
    } catch (error) {
      this.#current.delete(ttlSeconds);
      throw error;
    }
  }
}

import { randomBytes } from "node:crypto";
import { etcdErrors } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import { maxLeaseTtlSeconds, minLeaseTtlSeconds } from "../engine/lessor.ts";

/** Time to live of the lease that Lock and Campaign make for who names none: that of a session of etcd's client. */
const sessionTtlSeconds = 60;

/** Grants a lease, under a free id when `id` is 0. Throws etcd's errors for a time too long and an id that is taken. */
export async function grantLease(
  core: Core,
  alarms: { refuseWhenFull(): void },
  id: bigint,
  ttl: number,
): Promise<{ id: bigint; ttlSeconds: number; revision: number }> {
  const { lessor, clock } = core;
  if (ttl > maxLeaseTtlSeconds) throw etcdErrors.leaseTtlTooLarge();
  const ttlSeconds = Math.max(ttl, minLeaseTtlSeconds);
  let granted = id;
  const revision = await core.write((scope) => {
    alarms.refuseWhenFull();
    granted = id === 0n ? freeLeaseId(core) : id;
    if (lessor.get(granted) !== undefined) throw etcdErrors.leaseExists();
    const lease = lessor.grant(granted, ttlSeconds, clock.monotonic());
    scope.leases.push({ kind: "grant", id: granted, ttlSeconds });
    scope.onRollback(() => lessor.remove(lease));
  });
  return { id: granted, ttlSeconds, revision };
}

/** The lease that a Lock or Campaign names, or one of its own: nobody keeps that alive. Source: etcd's v3lock, v3election. */
export async function sessionLease(core: Core, alarms: { refuseWhenFull(): void }, named: bigint): Promise<bigint> {
  return named !== 0n ? named : (await grantLease(core, alarms, 0n, sessionTtlSeconds)).id;
}

/** A random positive 63-bit id that no lease has. */
function freeLeaseId(core: Core): bigint {
  for (;;) {
    const id = randomBytes(8).readBigUInt64BE() >> 1n;
    if (id !== 0n && core.lessor.get(id) === undefined) return id;
  }
}

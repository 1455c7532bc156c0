import { etcdErrors, leaseKeepAliveRequest, leaseKeepAliveResponse, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { Method } from "../server/rpc.ts";
import { grantLease } from "./grant-lease.ts";
import { decodeMessage, messageMethod } from "./message-method.ts";

/** etcdserverpb.Lease. */
export function leaseService(core: Core, alarms: { refuseWhenFull(): void }): Method[] {
  const { lessor, clock } = core;

  const grant = async (id: bigint, ttl: number) => {
    const granted = await grantLease(core, alarms, id, ttl);
    return { header: core.header(granted.revision), id: granted.id, ttl: granted.ttlSeconds };
  };

  const revoke = async (id: bigint) => {
    const revision = await core.write((scope) => {
      const lease = lessor.get(id);
      if (lease === undefined) throw etcdErrors.leaseNotFound();
      core.revoke(scope, lease);
    });
    return { header: core.header(revision) };
  };

  /** Remaining time in whole seconds, or -1 for a lease that is not there; keys in any order. */
  const timeToLive = async (id: bigint, withKeys: boolean) => {
    await core.linearize();
    const header = core.header();
    const lease = lessor.get(id);
    if (lease === undefined || lease.deadlineMs <= clock.monotonic()) return { header, id, ttl: -1 };
    const ttl = Math.floor((lease.deadlineMs - clock.monotonic()) / 1_000);
    const keys = withKeys ? [...lease.attached].map((entry) => Buffer.from(entry.key, "latin1")) : [];
    return { header, id, ttl, grantedTtl: lease.ttlSeconds, keys };
  };

  return [
    messageMethod(services.lease.grant, ({ id, ttl }) => grant(id, ttl)),
    messageMethod(services.lease.revoke, ({ id }) => revoke(id)),
    messageMethod(services.lease.timeToLive, (request) => timeToLive(request.id, request.keys)),
    messageMethod(services.lease.leases, async () => {
      await core.linearize();
      return { header: core.header(), leases: lessor.list().map(({ id }) => ({ id })) };
    }),
    {
      kind: "stream",
      path: "/etcdserverpb.Lease/LeaseKeepAlive",
      open: (stream) => {
        // One answer per request, in order, even when an answer takes a commit.
        let answered: Promise<void> = Promise.resolve();
        return {
          onMessage(message) {
            const { id } = decodeMessage(leaseKeepAliveRequest, message);
            answered = answered
              .then(() => core.keepAlive(id))
              .then((ttl) => stream.send([leaseKeepAliveResponse.encode({ header: core.header(), id, ttl })]))
              .catch((error) => stream.end(error));
          },
          onHalfClose() {
            answered = answered.then(() => stream.end());
          },
          onClosed() {},
        };
      },
    },
  ];
}

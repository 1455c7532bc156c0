import { etcdErrors, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { CallInfo, UnaryMethod } from "../server/rpc.ts";
import { deleteKey } from "./delete-key.ts";
import { sessionLease } from "./grant-lease.ts";
import { enqueue, ownerKey, waitForTurn } from "./key-waiter.ts";
import { messageMethod } from "./message-method.ts";

/** v3lockpb.Lock: a lock is held by the oldest key under its name, for as long as the key's lease lives. */
export function lockService(core: Core, alarms: { refuseWhenFull(): void }): UnaryMethod[] {
  return [
    messageMethod(services.lock.lock, async (request, info) => {
      const { name } = request;
      if (name.length === 0) throw etcdErrors.emptyKey();
      const lease = await sessionLease(core, alarms, request.lease);
      const key = ownerKey(name, lease);
      const { version, created } = await enqueue(core, alarms, key, lease, Buffer.alloc(0));
      await waitOrLeave(core, info, created, key, (signal) => waitForTurn(core, name, version, signal));
      return { header: core.header(), key: Buffer.from(key, "latin1") };
    }),
    messageMethod(services.lock.unlock, async ({ key }) => {
      if (key.length === 0) throw etcdErrors.emptyKey();
      return { header: core.header(await deleteKey(core, key.toString("latin1"))) };
    }),
  ];
}

/** Waits for a turn; a client that gives up loses its place in the queue. */
export async function waitOrLeave(
  core: Core,
  info: CallInfo,
  created: boolean,
  key: string,
  wait: (signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const abandoned = new AbortController();
  info.onAbandoned(() => abandoned.abort());
  try {
    await wait(abandoned.signal);
  } catch (error) {
    if (created) await deleteKey(core, key);
    throw error;
  }
}

import type { EtcdClient } from "@keelson/etcd-client";
import { compareResults, compareTargets } from "@keelson/protocol/etcd";
import type { EnvelopeStore, StoredValue } from "./envelope-store.ts";

/** The bootstrap exchange over etcd's API. Transactions have the three shapes that kine serves too. */
export function createEtcdEnvelopeStore(client: EtcdClient): EnvelopeStore {
  const atRevision = (key: string, modRevision: number) => ({
    key: Buffer.from(key),
    target: compareTargets.mod,
    result: compareResults.equal,
    modRevision,
  });
  return {
    async list(prefix: string): Promise<StoredValue[]> {
      const key = Buffer.from(prefix);
      const { kvs } = await client.range({ key, rangeEnd: endOfPrefix(key) });
      return kvs.map((kv) => ({ key: kv.key.toString(), value: kv.value.toString(), revision: kv.modRevision }));
    },
    async create(key, value, ttlSeconds) {
      const lease = ttlSeconds === undefined ? 0n : (await client.leaseGrant(ttlSeconds)).id;
      const { succeeded } = await client.txn({
        compare: [atRevision(key, 0)],
        success: [{ requestPut: { key: Buffer.from(key), value: Buffer.from(value), lease } }],
        failure: [{ requestRange: { key: Buffer.from(key) } }],
      });
      return succeeded;
    },
    async replace(key, value, revision) {
      const { succeeded } = await client.txn({
        compare: [atRevision(key, revision)],
        success: [{ requestPut: { key: Buffer.from(key), value: Buffer.from(value) } }],
        failure: [{ requestRange: { key: Buffer.from(key) } }],
      });
      return succeeded;
    },
    async delete(key, revision) {
      const { succeeded } = await client.txn({
        compare: [atRevision(key, revision)],
        success: [{ requestDeleteRange: { key: Buffer.from(key) } }],
        failure: [{ requestRange: { key: Buffer.from(key) } }],
      });
      return succeeded;
    },
    watch(prefix, onValue) {
      const key = Buffer.from(prefix);
      let watch = open();
      let timer: NodeJS.Timeout | undefined;
      function open(): { cancel(): void } {
        return client.watch(
          { key, rangeEnd: endOfPrefix(key) },
          {
            onEvents: (events) => {
              for (const { kv } of events) {
                if (kv !== undefined && kv.value.length > 0) onValue(kv.value.toString(), kv.key.toString());
              }
            },
            // Compacted, or the datastore was exchanged: what matters is what comes from now on.
            onEnd: () => {
              timer = setTimeout(() => {
                watch = open();
              }, 1_000);
              timer.unref();
            },
          },
        );
      }
      return () => {
        clearTimeout(timer);
        watch.cancel();
      };
    },
  };
}

/** The end of the range of all keys that begin with `prefix`. */
function endOfPrefix(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix);
  end[end.length - 1]! += 1;
  return end;
}

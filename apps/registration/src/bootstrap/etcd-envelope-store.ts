import type { EtcdClient } from "@keelson/etcd-client";
import { compareResults, compareTargets, type KeyValue } from "@keelson/protocol/etcd";
import type { EnvelopeStore, StoredValue } from "./envelope-store.ts";

const watchRetryMs = 1_000;

/** The bootstrap exchange over etcd's API. Transactions, but for `commit`, have the three shapes that kine serves too. */
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
    async create(key, value) {
      const { succeeded } = await client.txn({
        compare: [atRevision(key, 0)],
        success: [{ requestPut: { key: Buffer.from(key), value: Buffer.from(value) } }],
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
    async commit(changes) {
      const success = await Promise.all(
        changes.map(async ({ key: name, value, ttlSeconds }) => {
          const key = Buffer.from(name);
          if (value === undefined) return { requestDeleteRange: { key } };
          const lease = ttlSeconds === undefined ? 0n : (await client.leaseGrant(ttlSeconds)).id;
          return { requestPut: { key, value: Buffer.from(value), lease } };
        }),
      );
      const compare = changes.map(({ key, revision }) => atRevision(key, revision));
      return (await client.txn({ compare, success })).succeeded;
    },
    watch(prefix, onValue) {
      const key = Buffer.from(prefix);
      const rangeEnd = endOfPrefix(key);
      let watch: { cancel(): void } | undefined;
      let timer: NodeJS.Timeout | undefined;
      let isOver = false;
      const tell = (kv: KeyValue | undefined): void => {
        if (kv !== undefined && kv.value.length > 0) onValue(kv.value.toString(), kv.key.toString());
      };
      // Compacted, or the datastore is away or was exchanged: what changed meanwhile shows in what is there then.
      const openLater = (): void => {
        if (isOver) return;
        timer = setTimeout(() => open().catch(openLater), watchRetryMs);
        timer.unref();
      };
      async function open(): Promise<void> {
        const { header, kvs } = await client.range({ key, rangeEnd });
        if (isOver) return;
        for (const kv of kvs) tell(kv);
        const startRevision = header!.revision + 1;
        watch = client.watch(
          { key, rangeEnd, startRevision },
          {
            onEvents: (events) => {
              for (const { kv } of events) tell(kv);
            },
            onEnd: openLater,
          },
        );
      }
      void open().catch(openLater);
      return () => {
        isOver = true;
        clearTimeout(timer);
        watch?.cancel();
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

import type { DatabaseServer } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import type { Event } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatastore, type Datastore } from "../src/index.ts";

const objects = 100;
const value = Buffer.alloc(2_048, "v");
const prefix = Buffer.from("/race/");
const prefixEnd = Buffer.from("/race0");
const keyOf = (at: number): Buffer => Buffer.from(`/race/${String(at).padStart(3, "0")}`);
const isCompacted = (error: unknown): boolean => String(error).includes("required revision has been compacted");

/** Replicas whose cache holds nearly nothing, so that every answer waits for rows that compaction may be deleting. */
export function describeCompactionRace(start: () => Promise<DatabaseServer>): void {
  let server: DatabaseServer;
  const datastores: Datastore[] = [];
  const clients: EtcdClient[] = [];

  beforeAll(async () => {
    server = await start();
    for (const name of ["a", "b"]) {
      const datastore = createDatastore({
        endpoint: server.endpoint("kubernetes"),
        listen: [{ url: "http://127.0.0.1:0" }],
        name,
        cacheBytes: 1,
      });
      await datastore.start();
      datastores.push(datastore);
      clients.push(createEtcdClient({ endpoints: [datastore.addresses[0]!], timeoutMs: 20_000 }));
    }
  }, 60_000);
  afterAll(async () => {
    for (const client of clients) client.close();
    for (const datastore of datastores) await datastore.stop();
    await server?.close();
  });

  /** Writes every object once; resolves with the newest revision. */
  const writeAll = async (): Promise<number> => {
    const puts = Array.from({ length: objects }, (_, at) => clients[0]!.put({ key: keyOf(at), value }));
    return Math.max(...(await Promise.all(puts)).map(({ header }) => header?.revision ?? 0));
  };

  describe("while compaction deletes rows", () => {
    it("a list of an old revision is whole, or says that it is compacted", async () => {
      for (let round = 0; round < 12; round++) {
        const revision = await writeAll();
        const newest = await writeAll();
        const lists = clients.flatMap((client) =>
          Array.from({ length: 4 }, () => client.range({ key: prefix, rangeEnd: prefixEnd, revision })),
        );
        const compacting = clients[round % 2]!.compact({ revision: newest, physical: true });
        const outcomes = await Promise.allSettled(lists);
        await compacting;
        for (const outcome of outcomes) {
          if (outcome.status === "fulfilled") expect(outcome.value.kvs).toHaveLength(objects);
          else expect(isCompacted(outcome.reason)).toBe(true);
        }
      }
    }, 60_000);

    it("a key that is only ever updated is always there, with its previous value", async () => {
      await writeAll();
      let isOver = false;
      const reading = clients.map(async (client) => {
        while (!isOver) expect((await client.range({ key: keyOf(0) })).kvs).toHaveLength(1);
      });
      for (let round = 0; round < 60; round++) {
        const client = clients[round % 2]!;
        const { header, prevKv } = await client.put({ key: keyOf(0), value, prevKv: true });
        expect(prevKv?.value).toHaveLength(value.length);
        await client.compact({ revision: header!.revision, physical: true });
      }
      isOver = true;
      await Promise.all(reading);
    }, 60_000);

    it("a watch from an old revision gets whole events, or is cancelled as compacted", async () => {
      for (let round = 0; round < 8; round++) {
        const startRevision = (await writeAll()) - objects + 1;
        await writeAll();
        const newest = await writeAll();
        const watching = clients.flatMap((client) => [0, 1].map(() => watchUntil(client, startRevision, newest)));
        await clients[round % 2]!.compact({ revision: newest, physical: true });
        for (const { events, error } of await Promise.all(watching)) {
          if (error !== undefined) expect(isCompacted(error)).toBe(true);
          for (const { kv, prevKv } of events) {
            expect(kv?.value).toHaveLength(value.length);
            // etcd hides what came before the compacted revision itself.
            if ((kv?.modRevision ?? 0) < newest && (kv?.version ?? 0) > 1) expect(prevKv).toBeDefined();
          }
        }
      }
    }, 60_000);
  });
}

/** The events of a watch until it has seen a revision, or was ended. */
function watchUntil(client: EtcdClient, startRevision: number, last: number) {
  return new Promise<{ events: Event[]; error?: unknown }>((resolve) => {
    const events: Event[] = [];
    const watch = client.watch(
      { key: prefix, rangeEnd: prefixEnd, startRevision, prevKv: true },
      {
        onEvents(news) {
          events.push(...news);
          if ((news.at(-1)?.kv?.modRevision ?? 0) < last) return;
          watch.cancel();
          resolve({ events });
        },
        onEnd: (error) => resolve({ events, error }),
      },
    );
  });
}

import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseServer } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { compareTargets, type Event, grpcStatus, services } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatastore, type Datastore } from "../src/index.ts";

const prefix = Buffer.from("/registry/");
const prefixEnd = Buffer.from("/registry0");

/** What a watcher of everything has seen. */
class Seen {
  readonly events: { key: string; revision: number; type: string }[] = [];
  failure: unknown;

  onEvents(events: readonly Event[]): void {
    for (const { type, kv } of events) {
      this.events.push({ key: String(kv?.key), revision: kv?.modRevision ?? 0, type: String(type) });
    }
  }

  get revisions(): number[] {
    return this.events.map(({ revision }) => revision);
  }
}

/** Another replica, on a database of its own choice. */
async function openReplica(endpoint: string): Promise<{ client: EtcdClient; stop(): Promise<void> }> {
  const datastore = createDatastore({ endpoint, listen: [{ url: "http://127.0.0.1:0" }] });
  await datastore.start();
  const client = createEtcdClient({ endpoints: [datastore.addresses[0]!] });
  return {
    client,
    async stop() {
      client.close();
      await datastore.stop();
    },
  };
}

/** Patient, because a loaded machine is slow. */
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 15_000 });

/** Two adapters in this process on one database server: the behaviour that clients of either see. */
export function describeReplicas(start: () => Promise<DatabaseServer>): void {
  let server: DatabaseServer;
  const datastores: Datastore[] = [];
  const clients: EtcdClient[] = [];
  const [a, b] = [0, 1].map((at) => (): EtcdClient => clients[at]!) as [() => EtcdClient, () => EtcdClient];

  beforeAll(async () => {
    server = await start();
    for (const name of ["a", "b"]) {
      const datastore = createDatastore({
        endpoint: server.endpoint("kubernetes"),
        listen: [{ url: "http://127.0.0.1:0" }],
        name,
      });
      await datastore.start();
      datastores.push(datastore);
      clients.push(createEtcdClient({ endpoints: [datastore.addresses[0]!] }));
    }
  }, 60_000);
  afterAll(async () => {
    for (const client of clients) client.close();
    for (const datastore of datastores) await datastore.stop();
    await server?.close();
  });

  const put = async (client: EtcdClient, key: string, value = key): Promise<number> =>
    (await client.put({ key: Buffer.from(key), value: Buffer.from(value) })).header?.revision ?? 0;
  const get = async (client: EtcdClient, key: string): Promise<string | undefined> => {
    const { kvs } = await client.range({ key: Buffer.from(key) });
    return kvs[0] === undefined ? undefined : String(kvs[0].value);
  };
  const watchAll = async (client: EtcdClient): Promise<Seen> => {
    const seen = new Seen();
    await new Promise<void>((resolve) => {
      client.watch(
        { key: prefix, rangeEnd: prefixEnd },
        {
          onCreated: () => resolve(),
          onEvents: (events) => seen.onEvents(events),
          onEnd: (error) => {
            seen.failure = error;
          },
        },
      );
    });
    return seen;
  };

  describe("two replicas on one database", () => {
    it("each answer a read with what the other has acknowledged before", async () => {
      for (let round = 0; round < 25; round++) {
        const [writer, reader] = round % 2 === 0 ? [a(), b()] : [b(), a()];
        await put(writer, "/registry/turns", String(round));
        expect(await get(reader, "/registry/turns")).toBe(String(round));
      }
    });

    it("let a thousand clients create at once, and 25 watchers see each creation once and in order", async () => {
      const watchers = await Promise.all(Array.from({ length: 25 }, (_, at) => watchAll(at % 2 === 0 ? a() : b())));
      const revisions = await Promise.all(
        Array.from({ length: 1_000 }, async (_, at) => {
          const key = Buffer.from(`/registry/storm/${at}`);
          const { succeeded, header } = await (at % 2 === 0 ? a() : b()).txn({
            compare: [{ key, target: compareTargets.mod, modRevision: 0 }],
            success: [{ requestPut: { key, value: Buffer.alloc(200, "v") } }],
          });
          expect(succeeded).toBe(true);
          return header?.revision ?? 0;
        }),
      );
      const expected = revisions.sort((x, y) => x - y);
      for (const seen of watchers) {
        await eventually(() => seen.events.length).toBe(1_000);
        expect(seen.revisions).toEqual(expected);
        expect(seen.failure).toBeUndefined();
      }
    }, 30_000);

    it("guard a key against both writing from the same revision", async () => {
      const key = Buffer.from("/registry/guarded");
      const first = await put(a(), "/registry/guarded");
      const update = async (client: EtcdClient): Promise<boolean> => {
        const { succeeded } = await client.txn({
          compare: [{ key, target: compareTargets.mod, modRevision: first }],
          success: [{ requestPut: { key, value: Buffer.from("mine") } }],
        });
        return succeeded;
      };
      const outcomes = await Promise.all(Array.from({ length: 20 }, (_, at) => update(at % 2 === 0 ? a() : b())));
      expect(outcomes.filter(Boolean)).toHaveLength(1);
    });

    it("refuse a key that the database cannot index, alone", async () => {
      const long = "/registry/".padEnd(4_000, "k");
      const outcomes = await Promise.all([
        put(a(), "/registry/beside-1"),
        put(a(), long).catch(String),
        put(a(), "/registry/beside-2"),
      ]);
      expect(outcomes).toEqual([
        expect.any(Number),
        expect.stringContaining("request is too large"),
        expect.any(Number),
      ]);
      // Neither does the queue of a lock, whose keys are not written by a put.
      const { id: lease } = await a().leaseGrant(60);
      const lock = a().call(services.lock.lock, { name: Buffer.from(long), lease });
      await Promise.all([
        expect(lock).rejects.toMatchObject({ code: 3, message: "etcdserver: request is too large" }),
        expect(put(a(), "/registry/beside-3")).resolves.toBeGreaterThan(0),
      ]);
    });

    it("take the longest keys that docs/compatibility.md promises", async () => {
      const letters = (length: number) => randomBytes(length).toString("base64").slice(0, length);
      const longest = server.kind === "postgres" ? 2_650 : 2_999;
      const key = letters(longest);
      await put(a(), key);
      expect(await get(b(), key)).toBeDefined();
      await expect(put(a(), letters(longest + 1))).rejects.toMatchObject({ code: 3 });
      // Bytes that are no ASCII take two each in a PostgreSQL text.
      const bytes = Buffer.alloc(server.kind === "postgres" ? 1_325 : 2_999, 0xfe);
      await a().put({ key: bytes, value: Buffer.from("x") });
      expect((await b().range({ key: bytes })).kvs).toHaveLength(1);
    });

    it("list a lease as soon as it is granted, or no more once it is revoked", async () => {
      const listed = async (): Promise<bigint[]> =>
        (await b().call(services.lease.leases, {})).leases.map(({ id }) => id);
      for (let round = 0; round < 20; round++) {
        const { id } = await a().leaseGrant(60);
        expect(await listed()).toContain(id);
        await a().leaseRevoke(id);
        expect(await listed()).not.toContain(id);
      }
    });

    it("share leases: either renews them, and an expiry deletes the keys once", async () => {
      const seen = await watchAll(b());
      const leased = (): string[] => seen.events.filter(({ key }) => key.endsWith("/leased")).map(({ type }) => type);
      const { id } = await a().leaseGrant(2);
      await b().put({ key: Buffer.from("/registry/leased"), value: Buffer.from("x"), lease: id });
      for (let round = 0; round < 3; round++) {
        await delay(800);
        expect((await (round % 2 === 0 ? b() : a()).leaseKeepAlive(id)).ttl).toBe(2);
      }
      expect(await get(a(), "/registry/leased")).toBe("x");
      await eventually(() => get(a(), "/registry/leased")).toBeUndefined();
      await eventually(leased).toEqual(["0", "1"]);
      await expect(b().leaseRevoke(id)).rejects.toThrow("lease not found");
    }, 30_000);

    it("give leases their keys back after a restart, and expire each once between them", async () => {
      const open = (): Promise<{ client: EtcdClient; stop(): Promise<void> }> => openReplica(server.endpoint("leases"));
      const key = (at: number): Buffer => Buffer.from(`/registry/leased/${at}`);
      const first = await open();
      const { id } = await first.client.leaseGrant(3);
      for (const at of [1, 2]) await first.client.put({ key: key(at), value: Buffer.from("x"), lease: id });
      const before = (await first.client.range({ key: key(1) })).header!.revision;
      await first.stop();
      const restarted = await Promise.all([open(), open()]);
      for (const { client } of restarted) {
        expect((await client.leaseTimeToLive(id, true)).keys.map(String).sort()).toEqual([key(1), key(2)].map(String));
      }
      const watchers = await Promise.all(restarted.map(({ client }) => watchAll(client)));
      for (const seen of watchers) {
        await eventually(() => seen.events.map((event) => `${event.type} ${event.key}`).sort()).toEqual(
          [1, 2].map((at) => `1 ${key(at)}`),
        );
      }
      for (const { client } of restarted) {
        expect((await client.leaseTimeToLive(id, false)).ttl).toBe(-1);
        // Two deletions are two rows, and nothing came after them.
        expect((await client.range({ key: key(1) })).header?.revision).toBe(before + 2);
      }
      expect(watchers.map(({ events }) => events.length)).toEqual([2, 2]);
      for (const { stop } of restarted) await stop();
    }, 30_000);

    it("compact together", async () => {
      const revision = await put(a(), "/registry/compacted", "1");
      await put(b(), "/registry/compacted", "2");
      await a().compact({ revision: revision + 1 });
      const old = b().range({ key: Buffer.from("/registry/compacted"), revision });
      await expect(old).rejects.toThrow("required revision has been compacted");
      expect(await get(b(), "/registry/compacted")).toBe("2");
    });

    it("name each other in the member list", async () => {
      const names = async (): Promise<string[]> => (await a().memberList()).members.map(({ name }) => name).sort();
      await eventually(names).toEqual(["a", "b"]);
    });

    it("keep every acknowledged write over a crash of the database, and every watch whole", async () => {
      const watchers = [await watchAll(a()), await watchAll(b())];
      const acknowledged: string[] = [];
      let isOver = false;
      const writing = [a(), b()].map(async (client, who) => {
        for (let at = 0; !isOver; at++) {
          const key = `/registry/crash/${who}/${at}`;
          await put(client, key).then(
            () => acknowledged.push(key),
            () => delay(20),
          );
        }
      });
      await delay(300);
      await server.crash();
      await expect(put(a(), "/registry/down")).rejects.toThrow();
      // Whatever is asked meanwhile, at once or not: clients try again after Unavailable, and give up after Unknown.
      await expect(get(b(), "/registry/down")).rejects.toMatchObject({ code: grpcStatus.unavailable });
      await server.process.start();
      await eventually(() => put(a(), "/registry/up").catch(() => 0)).toBeGreaterThan(0);
      await eventually(() => put(b(), "/registry/up").catch(() => 0)).toBeGreaterThan(0);
      await delay(200);
      isOver = true;
      await Promise.all(writing);
      const { kvs } = await b().range({ key: prefix, rangeEnd: prefixEnd });
      const present = new Set(kvs.map(({ key }) => String(key)));
      expect(acknowledged.filter((key) => !present.has(key))).toEqual([]);
      const last = await put(a(), "/registry/last");
      for (const seen of watchers) {
        await eventually(() => seen.revisions.at(-1)).toBe(last);
        expect(new Set(seen.revisions).size).toBe(seen.revisions.length);
        expect(seen.revisions).toEqual([...seen.revisions].sort((x, y) => x - y));
        const keys = new Set(seen.events.map(({ key }) => key));
        expect(acknowledged.filter((key) => !keys.has(key))).toEqual([]);
        expect(seen.failure).toBeUndefined();
      }
      expect(watchers[0]!.events).toEqual(watchers[1]!.events);
    }, 60_000);
  });
}

import { Etcd3, EtcdLockFailedError } from "etcd3";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ApiServer, comparedServers, lacks } from "../src/index.ts";

/** The surface of the etcd3 npm package, on etcd and on the adapter: what passes there has to pass here. */

describe.skipIf(lacks("etcd")).each(comparedServers)("the etcd3 client on %s", { timeout: 60_000 }, (_, start) => {
  let server: ApiServer;
  let client: Etcd3;

  beforeAll(async () => {
    server = await start();
    client = new Etcd3({ hosts: server.url });
  });
  afterAll(async () => {
    client.close();
    await server.close();
  });

  it("puts and gets every kind of value", async () => {
    await client.put("kv/text").value("hello");
    await client.put("kv/number").value(12);
    await client.put("kv/json").value(JSON.stringify({ a: 1 }));
    await client.put("kv/buffer").value(Buffer.from([0, 255, 1]));
    expect(await client.get("kv/text").string()).toBe("hello");
    expect(await client.get("kv/number").number()).toBe(12);
    expect(await client.get("kv/json").json()).toEqual({ a: 1 });
    expect(await client.get("kv/buffer").buffer()).toEqual(Buffer.from([0, 255, 1]));
    expect(await client.get("kv/none").string()).toBeNull();
    expect(await client.get("kv/text").exists()).toBe(true);
    const previous = await client.put("kv/text").value("again").getPrevious();
    expect(previous.value.toString()).toBe("hello");
    await client.put("kv/text").touch();
    expect(await client.get("kv/text").string()).toBe("again");
  });

  it("gets many: prefix, range, keys, count, sort, limit, revision", async () => {
    for (const name of ["a", "b", "c", "d"]) await client.put(`many/${name}`).value(name.toUpperCase());
    const all = client.getAll().prefix("many/");
    expect(await all.strings()).toEqual({ "many/a": "A", "many/b": "B", "many/c": "C", "many/d": "D" });
    expect(await all.keys()).toEqual(["many/a", "many/b", "many/c", "many/d"]);
    expect(await all.count()).toBe(4);
    expect(await client.getAll().prefix("many/").sort("Key", "Descend").limit(2).keys()).toEqual(["many/d", "many/c"]);
    expect(await client.getAll().inRange({ start: "many/b", end: "many/d" }).keys()).toEqual(["many/b", "many/c"]);
    const { header } = await client.get("many/a").exec();
    await client.put("many/a").value("changed");
    expect(await client.get("many/a").revision(header.revision).string()).toBe("A");
    expect(
      await client
        .getAll()
        .prefix("many/")
        .minModRevision(Number(header.revision) + 1)
        .keys(),
    ).toEqual(["many/a"]);
    expect((await client.delete().key("many/d").getPrevious())[0]?.value.toString()).toBe("D");
    expect((await client.delete().prefix("many/")).deleted).toBe("3");
  });

  it("compares and swaps", async () => {
    await client.put("cas").value("1");
    const swap = (expected: string, next: string): Promise<{ succeeded: boolean }> =>
      client.if("cas", "Value", "==", expected).then(client.put("cas").value(next)).else(client.get("cas")).commit();
    expect((await swap("1", "2")).succeeded).toBe(true);
    expect((await swap("1", "3")).succeeded).toBe(false);
    expect(await client.get("cas").string()).toBe("2");
    const nested = await client
      .if("cas", "Version", ">", 0)
      .and("none", "Create", "==", 0)
      .then(client.delete().key("cas"))
      .commit();
    expect(nested.succeeded).toBe(true);
  });

  it("runs software transactions that conflict", async () => {
    await client.put("stm").value(0);
    const add = async (): Promise<void> => {
      await client.stm({ retries: 100 }).transact(async (tx) => {
        const current = (await tx.get("stm").number()) ?? 0;
        await tx.put("stm").value(current + 1);
      });
    };
    await Promise.all(Array.from({ length: 5 }, add));
    expect(await client.get("stm").number()).toBe(5);
  });

  it("ties keys to leases", async () => {
    const lease = client.lease(60);
    await lease.put("leased").value("1");
    const id = await lease.grant();
    expect((await client.leaseClient.leaseTimeToLive({ ID: id, keys: true })).keys.map(String)).toEqual(["leased"]);
    expect((await client.leaseClient.leaseLeases()).leases.map(({ ID }) => ID)).toContain(id);
    await lease.keepaliveOnce();
    await lease.revoke();
    expect(await client.get("leased").string()).toBeNull();
  });

  it("lets a lease run out", async () => {
    const { ID } = await client.leaseClient.leaseGrant({ TTL: 2 });
    await client.put("short").value("1").lease(ID);
    const deleted = new Promise<void>((resolve) => {
      void client
        .watch()
        .key("short")
        .create()
        .then((watcher) => watcher.on("delete", () => watcher.cancel().then(resolve)));
    });
    await deleted;
    expect(await client.get("short").string()).toBeNull();
  });

  it("watches keys and prefixes, from a revision, with filters", async () => {
    const seen: string[] = [];
    const { header } = await client.put("watched/0").value("0");
    const watcher = await client.watch().prefix("watched/").startRevision(header.revision).withPreviousKV().create();
    const done = new Promise<void>((resolve) => {
      watcher.on("put", (kv, previous) => seen.push(`put ${kv.key} ${kv.value} ${previous?.value ?? "-"}`));
      watcher.on("delete", (kv, previous) => {
        seen.push(`delete ${kv.key} ${previous?.value}`);
        resolve();
      });
    });
    await client.put("watched/1").value("1");
    await client.put("watched/1").value("2");
    await client.delete().key("watched/1");
    await done;
    await watcher.cancel();
    expect(seen).toEqual(["put watched/0 0 -", "put watched/1 1 -", "put watched/1 2 1", "delete watched/1 2"]);
    // etcd3 1.1 looks the filter up by this spelling, whatever its types say.
    const onlyDeletes = await client
      .watch()
      .key("watched/0")
      .ignore("Put" as "put")
      .create();
    const deleted = new Promise((resolve) => onlyDeletes.on("delete", resolve));
    onlyDeletes.on("put", () => expect.fail("puts are filtered"));
    await client.put("watched/0").value("x");
    await client.delete().key("watched/0");
    await deleted;
    await onlyDeletes.cancel();
  });

  it("locks", async () => {
    const lock = client.lock("mutex").ttl(10);
    await lock.acquire();
    await expect(client.lock("mutex").ttl(10).acquire()).rejects.toBeInstanceOf(EtcdLockFailedError);
    await lock.release();
    expect(await client.lock("mutex").do(async () => "done")).toBe("done");
  });

  it("elects", async () => {
    const election = client.election("election", 10);
    const first = election.campaign("first");
    await first.wait();
    const observer = await election.observe();
    expect(observer.leader()).toBe("first");
    const changed = new Promise((resolve) => observer.on("change", (leader) => leader === "second" && resolve(leader)));
    const second = election.campaign("second");
    await first.resign();
    await second.wait();
    await changed;
    await second.resign();
    await observer.cancel();
  });

  it("keeps namespaces apart", async () => {
    const space = client.namespace("space/");
    await space.put("a").value("1");
    expect(await client.get("space/a").string()).toBe("1");
    expect(await space.getAll().keys()).toEqual(["a"]);
    await space.delete().all();
    expect(await client.get("space/a").string()).toBeNull();
  });

  it("maintains", async () => {
    const status = await client.maintenance.status();
    expect(status.version).toMatch(/^3\.\d+\.\d+$/);
    expect(Number(status.dbSize)).toBeGreaterThan(0);
    expect((await client.maintenance.alarm({ action: "Get", memberID: "0", alarm: "None" } as never)).alarms).toEqual(
      [],
    );
    await client.maintenance.defragment();
    expect((await client.cluster.memberList({})).members).toHaveLength(1);
    await client.kv.compact({ revision: status.header.revision, physical: true });
    await expect(client.get("kv/text").revision(1)).rejects.toThrow("required revision has been compacted");
  });

  it("finds authentication off", async () => {
    expect(await client.getUsers()).toEqual([]);
    expect(await client.getRoles()).toEqual([]);
    await expect(client.auth.authEnable()).rejects.toThrow("root user does not exist");
  });
});

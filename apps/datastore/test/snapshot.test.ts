import { createHash } from "node:crypto";
import { stat, truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { GrpcConnection } from "@keelson/etcd-client";
import { services, snapshotResponse } from "@keelson/protocol/etcd";
import { expect, it, onTestFinished, vi } from "vitest";
import { createDatastore, restoreSnapshot } from "../src/index.ts";
import { BoltReader } from "../src/snapshot/bolt-reader.ts";
import { bytes, runDatastore, temporaryFolder, text } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

/** Takes a snapshot as `etcdctl snapshot save` does: all chunks, the hash at the end checked. */
async function takeSnapshot(url: string, path: string): Promise<void> {
  const connection = new GrpcConnection(url, undefined);
  onTestFinished(() => connection.close());
  const blobs: Buffer[] = [];
  const ended = Promise.withResolvers<void>();
  const call = await connection.stream(services.maintenance.snapshot.path, {
    onMessage: (message) => blobs.push(Buffer.from(snapshotResponse.decode(message).blob)),
    onEnd: (error) => (error === undefined ? ended.resolve() : ended.reject(error)),
  });
  call.send(Buffer.alloc(0));
  call.halfClose();
  await ended.promise;
  const hash = blobs.pop()!;
  const content = Buffer.concat(blobs);
  expect(hash.equals(createHash("sha256").update(content).digest())).toBe(true);
  await writeFile(path, Buffer.concat([content, hash]));
}

it("restores all keys with their revisions and leases into another database", async () => {
  const source = await runDatastore();
  const lease = await source.client.leaseGrant(600);
  for (let at = 0; at < 700; at++) {
    await source.client.put({
      key: bytes(`/key/${at % 500}`),
      value: Buffer.alloc(50, at),
      lease: at === 3 ? lease.id : 0n,
    });
  }
  await source.client.put({ key: bytes("large"), value: Buffer.alloc(100_000, 7) });
  await source.client.deleteRange({ key: bytes("/key/9") });
  const folder = await temporaryFolder();
  await takeSnapshot(source.url, join(folder, "snap"));

  const path = join(folder, "restored.db");
  const restored = await restoreSnapshot({ file: join(folder, "snap"), endpoint: `sqlite://${path}` });
  expect(restored).toEqual({ keys: 500, leases: 1, revision: 703 });
  const target = await runDatastore({ path });
  const everything = { key: bytes("\0"), rangeEnd: bytes("\0") };
  const [before, after] = [await source.client.range(everything), await target.client.range(everything)];
  expect(after.header?.revision).toBe(before.header?.revision);
  expect(after.kvs).toEqual(before.kvs);
  expect((await target.client.leaseTimeToLive(lease.id, true)).grantedTtl).toBe(600);
});

it("refuses to restore over keys, and files that are no snapshot", async () => {
  const { url, path, client, stop } = await runDatastore();
  await client.put({ key: bytes("a"), value: bytes("1") });
  const folder = await temporaryFolder();
  const file = join(folder, "snap");
  await takeSnapshot(url, file);
  await stop();
  await expect(restoreSnapshot({ file, endpoint: `sqlite://${path}` })).rejects.toThrow(/already holds keys/);
  await writeFile(file, Buffer.alloc(10_000, 1));
  const endpoint = `sqlite://${join(folder, "other.db")}`;
  await expect(restoreSnapshot({ file, endpoint })).rejects.toThrow(/not an intact etcd snapshot/);
});

it("keeps revisions that several keys share, and never falls behind the snapshot", async () => {
  const { url, client } = await runDatastore();
  const put = (key: string) => ({ requestPut: { key: bytes(key), value: bytes(key) } });
  await client.txn({ success: [put("a"), put("b"), put("c")] });
  await client.put({ key: bytes("d"), value: bytes("1") });
  await client.txn({ success: [put("a"), put("e")] });
  const folder = await temporaryFolder();
  const file = join(folder, "snap");
  await takeSnapshot(url, file);
  // An etcd gives such a transaction one revision: there is no room for its rows below.
  for (const [base, revision] of [
    [1, 7],
    [2, 9],
  ] as const) {
    const path = join(folder, `restored-${base}.db`);
    const earlier = await runDatastore({ path });
    for (let at = 1; at < base; at++) await earlier.client.put({ key: bytes("gone"), value: bytes("x") });
    await earlier.stop();
    const database = new DatabaseSync(path);
    if (base > 1)
      database.exec(`DELETE FROM kine WHERE name = 'gone'; UPDATE sqlite_sequence SET seq = 4 WHERE name = 'kine'`);
    database.close();
    expect(await restoreSnapshot({ file, endpoint: `sqlite://${path}` })).toMatchObject({ keys: 5, revision });
    const target = await runDatastore({ path });
    const everything = { key: bytes("\0"), rangeEnd: bytes("\0") };
    expect((await target.client.range(everything)).kvs).toEqual((await client.range(everything)).kvs);
    const next = await target.client.put({ key: bytes("a"), value: bytes("3"), prevKv: true });
    expect([next.header?.revision, next.prevKv?.version]).toEqual([revision + 1, 2]);
    const at = target.client.range({ ...everything, revision: revision - 1 });
    await expect(at).rejects.toThrow("has been compacted");
  }
});

it("takes a file without a hash only when told to", async () => {
  const { url, client } = await runDatastore();
  await client.put({ key: bytes("a"), value: bytes("1") });
  const folder = await temporaryFolder();
  const file = join(folder, "snap");
  await takeSnapshot(url, file);
  await truncate(file, (await stat(file)).size - 32);
  const endpoint = `sqlite://${join(folder, "restored.db")}`;
  await expect(restoreSnapshot({ file, endpoint })).rejects.toMatchObject({ code: "snapshot/no-hash" });
  expect(await restoreSnapshot({ file, endpoint, skipHashCheck: true })).toMatchObject({ keys: 1, revision: 2 });
});

it("goes on with a restore that ended in the middle, and serves nothing before", async () => {
  const source = await runDatastore();
  const lease = await source.client.leaseGrant(600);
  for (let at = 0; at < 1_300; at++) {
    await source.client.put({ key: bytes(`/key/${at}`), value: bytes(`${at}`), lease: at === 3 ? lease.id : 0n });
  }
  const folder = await temporaryFolder();
  const file = join(folder, "snap");
  await takeSnapshot(source.url, file);
  await source.client.put({ key: bytes("later"), value: bytes("1") });
  const other = join(folder, "other");
  await takeSnapshot(source.url, other);

  const path = join(folder, "restored.db");
  const endpoint = `sqlite://${path}`;
  await (await runDatastore({ path })).stop();
  const database = new DatabaseSync(path);
  database.exec("CREATE TRIGGER stop BEFORE INSERT ON kine WHEN NEW.id > 1100 BEGIN SELECT RAISE(ABORT, 'stop'); END");
  await expect(restoreSnapshot({ file, endpoint })).rejects.toThrow("the database failed");
  const served = createDatastore({ endpoint, listen: [] });
  await expect(served.start()).rejects.toMatchObject({ code: "snapshot/interrupted" });
  await served.stop();
  await expect(restoreSnapshot({ file: other, endpoint })).rejects.toMatchObject({ code: "snapshot/other" });
  expect(database.prepare("SELECT count(*) AS rows FROM kine WHERE name LIKE '/key/%'").get()).toEqual({ rows: 1_000 });
  database.exec("DROP TRIGGER stop");
  database.close();
  expect(await restoreSnapshot({ file, endpoint })).toEqual({ keys: 1_300, leases: 1, revision: 1_301 });
  const target = await runDatastore({ path });
  const keys = { key: bytes("/key/"), rangeEnd: bytes("/key0") };
  expect((await target.client.range(keys)).kvs).toEqual((await source.client.range(keys)).kvs);
  expect((await target.client.leaseTimeToLive(lease.id, true)).grantedTtl).toBe(600);
});

it("holds what etcd's own tools look for", async () => {
  const { url, client } = await runDatastore();
  await client.put({ key: bytes("a"), value: bytes("1") });
  const file = join(await temporaryFolder(), "snap");
  await takeSnapshot(url, file);
  using reader = new BoltReader(file);
  const names = ["key", "lease", "meta", "members", "members_removed", "cluster", "alarm", "auth"];
  for (const name of names) expect(() => [...reader.bucket(name)]).not.toThrow();
  const meta = new Map([...reader.bucket("meta")].map(({ key, value }) => [text(key), value]));
  expect(meta.get("consistent_index")!.readBigUInt64BE()).toBe(2n);
  expect([...reader.bucket("key")].map(({ key }) => key.length)).toEqual([17]);
});

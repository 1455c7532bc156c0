import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { GrpcConnection } from "@keelson/etcd-client";
import { services, snapshotResponse } from "@keelson/protocol/etcd";
import { expect, it, onTestFinished, vi } from "vitest";
import { restoreSnapshot } from "../src/index.ts";
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
  await writeFile(path, content);
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

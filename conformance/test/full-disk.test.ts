import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createEtcdClient } from "@keelson/etcd-client";
import { services } from "@keelson/protocol/etcd";
import { expect, it, onTestFinished } from "vitest";
import { requireAll, startAdapter } from "../src/index.ts";

const valueBytes = 64 << 10;
const eventually = { timeout: 20_000, interval: 200 };

/** A small file system of its own, whose size can be changed. Undefined where mounting is not allowed. */
function mountSmall(megabytes: number): { path: string; grow(megabytes: number): void } | undefined {
  const path = mkdtempSync(join(tmpdir(), "keelson-disk-"));
  try {
    execFileSync("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "keelson", path], { stdio: "pipe" });
  } catch (error) {
    rmSync(path, { recursive: true });
    if (requireAll) throw error;
    return undefined;
  }
  onTestFinished(() => {
    execFileSync("umount", [path]);
    rmSync(path, { recursive: true });
  });
  return { path, grow: (larger) => execFileSync("mount", ["-o", `remount,size=${larger}m`, path]) };
}

it("a full disk refuses writes and nothing else; with room again they go on, and nothing acknowledged is lost", async (test) => {
  const disk = mountSmall(8);
  if (disk === undefined) return test.skip("mounting a small file system needs root");
  const adapter = await startAdapter(`sqlite://${join(disk.path, "state.db")}`);
  onTestFinished(() => adapter.process.kill());
  const { pid } = adapter.process;
  const client = createEtcdClient({ endpoints: [adapter.url] });
  onTestFinished(() => client.close());
  const key = (at: number): Buffer => Buffer.from(`/key/${String(at).padStart(4, "0")}`);
  const put = (at: number) => client.put({ key: key(at), value: Buffer.alloc(valueBytes, at) });

  let acknowledged = 0;
  let failure: unknown;
  while (failure === undefined) {
    const startedMs = performance.now();
    await put(acknowledged).then(
      () => acknowledged++,
      (error) => {
        failure = error;
      },
    );
    expect(performance.now() - startedMs).toBeLessThan(5_000);
  }
  expect(failure).toMatchObject({ code: 14 });
  expect(acknowledged).toBeGreaterThan(10);

  const readAll = () => client.range({ key: Buffer.from("/key/"), rangeEnd: Buffer.from("/key0") });
  const keys = async (): Promise<string[]> => (await readAll()).kvs.map((kv) => String(kv.key));
  const expected = Array.from({ length: acknowledged }, (_, at) => String(key(at)));
  expect(await keys()).toEqual(expected);
  // How the others learn of it: a write that fails, and the server's own word.
  await expect(put(acknowledged)).rejects.toMatchObject({ code: 14 });
  expect((await fetch(`${adapter.url}/readyz`)).status).toBe(503);
  expect(adapter.process.pid).toBe(pid);

  disk.grow(64);
  await expect.poll(() => put(acknowledged).then(Boolean, () => false), eventually).toBe(true);
  expect((await fetch(`${adapter.url}/readyz`)).status).toBe(200);
  expect(adapter.process.pid).toBe(pid);

  await adapter.process.kill();
  await adapter.process.start();
  const { kvs } = await readAll();
  expect(kvs.map((kv) => String(kv.key))).toEqual([...expected, String(key(acknowledged))]);
  kvs.forEach((kv, at) => {
    expect(kv.value.equals(Buffer.alloc(valueBytes, at))).toBe(true);
  });
}, 60_000);

it("a full disk takes deletions, which make room for writes again, also after a restart", async (test) => {
  const disk = mountSmall(48);
  if (disk === undefined) return test.skip("mounting a small file system needs root");
  const adapter = await startAdapter(`sqlite://${join(disk.path, "state.db")}`);
  onTestFinished(() => adapter.process.kill());
  const client = createEtcdClient({ endpoints: [adapter.url] });
  onTestFinished(() => client.close());
  const key = (at: number): Buffer => Buffer.from(`/key/${String(at).padStart(4, "0")}`);
  const put = (at: number) => client.put({ key: key(at), value: Buffer.alloc(valueBytes, at) });

  // Until it stays full: a refused write may be followed by one that finds room in the write-ahead log.
  let acknowledged = 0;
  for (let fullSinceMs = 0; fullSinceMs === 0 || performance.now() - fullSinceMs < 2_500; ) {
    try {
      await put(acknowledged);
      acknowledged++;
      fullSinceMs = 0;
    } catch {
      if (fullSinceMs === 0) fullSinceMs = performance.now();
      await delay(50);
    }
  }
  const small = client.put({ key: key(acknowledged), value: Buffer.from("x") });
  await expect(small).rejects.toMatchObject({ code: 8, message: "etcdserver: mvcc: database space exceeded" });
  for (let at = 0; at < 20; at++) await client.deleteRange({ key: key(at) });
  expect((await fetch(`${adapter.url}/readyz`)).status).toBe(503);

  await adapter.process.kill();
  await adapter.process.start();
  await expect(put(acknowledged)).rejects.toMatchObject({ code: 8 });
  const { deleted, header } = await client.deleteRange({ key: key(20), rangeEnd: key(acknowledged - 10) });
  expect(deleted).toBe(acknowledged - 30);
  await client.call(services.kv.compact, { revision: header!.revision, physical: true });
  await expect.poll(() => put(acknowledged).then(Boolean, () => false), eventually).toBe(true);
  expect((await fetch(`${adapter.url}/readyz`)).status).toBe(200);
  const { kvs } = await client.range({ key: Buffer.from("/key/"), rangeEnd: Buffer.from("/key0") });
  const left = Array.from({ length: 11 }, (_, at) => String(key(acknowledged - 10 + at)));
  expect(kvs.map((kv) => String(kv.key))).toEqual(left);
}, 60_000);

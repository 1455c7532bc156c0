import { DatabaseSync } from "node:sqlite";
import { expect, it, vi } from "vitest";
import { bytes, runDatastore, text } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

const patiently = { timeout: 15_000 };

it("keeps up by itself: old versions go, live keys and recent history stay", async () => {
  const compaction = { retentionMs: 60_000, minRetain: 20, maxRetain: 100 };
  const { client, path } = await runDatastore({ compaction });
  for (let round = 0; round < 100; round++) {
    await Promise.all(
      Array.from({ length: 10 }, (_, at) => client.put({ key: bytes(`k${at}`), value: bytes(String(round)) })),
    );
  }
  const reader = new DatabaseSync(path, { readOnly: true });
  const rows = (): number => reader.prepare("SELECT COUNT(*) AS rows FROM kine").get()!.rows as number;
  // At most the history that is kept, the ten keys, and kine's own row.
  await expect.poll(rows, patiently).toBeLessThanOrEqual(111);
  const all = await client.range({ key: bytes("k"), rangeEnd: bytes("l") });
  expect(all.kvs.map((kv) => text(kv.value))).toEqual(Array(10).fill("99"));
  const recent = await client.range({ key: bytes("k0"), revision: all.header!.revision - 50 });
  expect(recent.count).toBe(1);
  await expect(client.range({ key: bytes("k0"), revision: 10 })).rejects.toMatchObject({ code: 11 });
  reader.close();
});

it("is exact again after a restart in the middle of it", async () => {
  const { client, path, stop } = await runDatastore();
  for (let round = 0; round < 5; round++) {
    const keys = Array.from({ length: 100 }, (_, at) => bytes(`k${at % 5}`));
    await Promise.all(keys.map((key) => client.put({ key, value: bytes(String(round)) })));
  }
  await client.deleteRange({ key: bytes("k4") });
  await client.compact({ revision: 400 });
  await stop();
  const again = await runDatastore({ path });
  const at400 = await again.client.range({ key: bytes("k"), rangeEnd: bytes("l"), revision: 400 });
  expect(at400.kvs).toHaveLength(5);
  expect(Math.max(...at400.kvs.map((kv) => kv.modRevision))).toBe(400);
  await expect(again.client.range({ key: bytes("k0"), revision: 399 })).rejects.toMatchObject({ code: 11 });
  await again.client.compact({ revision: 502, physical: true });
  const reader = new DatabaseSync(path, { readOnly: true });
  // Four live keys, the tombstone exactly at the compacted revision, kine's own row.
  expect(reader.prepare("SELECT COUNT(*) AS rows FROM kine").get()!.rows).toBe(6);
  reader.close();
});

it("plays kube-apiserver's part of the protocol, stored as kine stores it", async () => {
  const { client, path } = await runDatastore();
  const key = bytes("compact_rev_key");
  const claim = (version: number, revision: string) =>
    client.txn({
      compare: [{ key, target: 0, result: 0, version }],
      success: [{ requestPut: { key, value: bytes(revision) } }],
      failure: [{ requestRange: { key } }],
    });
  expect((await claim(0, "5")).succeeded).toBe(true);
  expect((await claim(1, "7")).succeeded).toBe(true);
  const lost = await claim(1, "9");
  expect(lost.succeeded).toBe(false);
  expect(lost.responses[0]!.responseRange!.kvs[0]).toMatchObject({ version: 2, value: bytes("7") });
  const reader = new DatabaseSync(path, { readOnly: true });
  const rows = reader.prepare("SELECT name, value FROM kine WHERE id > 1 ORDER BY id").all();
  expect(rows.map(({ name, value }) => [name, text(value as Uint8Array)])).toEqual([
    ["compact_rev_key_apiserver", "1|5"],
    ["compact_rev_key_apiserver", "2|7"],
  ]);
  reader.close();
});

import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { S3Store } from "../../src/etcd/snapshots/s3-store.ts";
import type { Snapshot } from "../../src/etcd/snapshots/snapshot-name.ts";
import { TestBucket } from "./s3-fixture.ts";

let bucket: TestBucket;
let directory: string;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-s3-"));
  bucket = await TestBucket.start();
});

afterAll(async () => {
  await bucket[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

const snapshot: Snapshot = {
  name: "on-demand-server-1-1700000000",
  nodeName: "server-1",
  location: "file:///x",
  sizeBytes: 5,
  createdAtMs: 1_700_000_000_000,
  compressed: false,
};

function store(keys: { accessKey: string } = bucket): S3Store {
  const { endpoint, name, region, secretKey } = bucket;
  const config = { endpoint, bucket: name, region, secretKey, accessKey: keys.accessKey };
  return new S3Store({ ...config, folder: "/cluster-a/", insecure: true }, "server-1");
}

test("a snapshot goes to the bucket's folder and comes back the same", async () => {
  const snapshots = store();
  await writeFile(join(directory, "source"), "hello");
  const uploaded = await snapshots.upload(join(directory, "source"), snapshot);
  expect(uploaded.location).toBe("s3://backups/cluster-a/on-demand-server-1-1700000000");
  bucket.objects.set("cluster-a/notes.txt", Buffer.from("not a snapshot"));
  expect(await snapshots.list()).toEqual([uploaded]);
  await snapshots.download(snapshot.name, join(directory, "back"));
  expect(await readFile(join(directory, "back"), "utf8")).toBe("hello");
  await snapshots.delete(snapshot.name);
  expect(await snapshots.list()).toEqual([]);
});

test("what is not there, and keys that are wrong, are said so", async () => {
  await expect(store().download("gone-server-1-1700000000", join(directory, "x"))).rejects.toMatchObject({
    code: "snapshot/not-found",
  });
  await expect(store({ accessKey: "XX" }).list()).rejects.toMatchObject({
    code: "snapshot/s3",
    hint: expect.stringContaining("--etcd-s3-region"),
  });
});

import { createPublicKey, randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { runCommandLine } from "../../src/cli/run.ts";
import { commands } from "../../src/commands.ts";
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

test("a store with a certificate of its own CA is trusted with that CA, or when told to take any", async () => {
  const [caKey, key] = [await generateEcKey(), await generateEcKey()];
  const ca = new Authority(createCaCertificate("store", caKey, Date.now() - 60_000), caKey);
  const names = { commonName: "store", purposes: ["server"] as const, names: ["127.0.0.1"] };
  const cert = ca.issue(names, createPublicKey(key), Date.now());
  await using secure = await TestBucket.start({ cert, key: exportPrivateKey(key) });
  const file = join(directory, "ca.pem");
  await writeFile(file, ca.bundlePem);
  const { endpoint, name: bucketName, region, accessKey, secretKey } = secure;
  const through = (trust: { endpointCa?: string; skipVerify?: boolean }): S3Store =>
    new S3Store({ endpoint, bucket: bucketName, region, accessKey, secretKey, ...trust }, "server-1");

  await writeFile(join(directory, "secret"), randomBytes(100_000));
  await expect(through({}).list()).rejects.toMatchObject({ code: "snapshot/s3" });
  const uploaded = await through({ endpointCa: file }).upload(join(directory, "secret"), snapshot);
  const trusting = [{ endpointCa: Buffer.from(ca.bundlePem).toString("base64") }, { skipVerify: true }];
  for (const trust of trusting) {
    expect(await through(trust).list()).toEqual([{ ...uploaded, sizeBytes: 100_000 }]);
    await through(trust).download(snapshot.name, join(directory, "again"));
    expect(await readFile(join(directory, "again"))).toEqual(await readFile(join(directory, "secret")));
  }
  await through({ endpointCa: file }).delete(snapshot.name);
  expect(secure.objects.size).toBe(0);
});

test("K3s's words for the command and its options are taken", async () => {
  const lines: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => lines.push(String(text)) > 0);
  onTestFinished(() => write.mockRestore());
  const { endpoint, name, region, accessKey, secretKey, objects } = bucket;
  const words = (...command: string[]): Promise<number> =>
    runCommandLine(commands, [
      ...["etcd-snapshot", ...command, "--data-dir", directory, "--dir", join(directory, "none")],
      ...["--node-name", "server-1", "--s3", "--s3-insecure", "--s3-endpoint", endpoint],
      ...["--s3-bucket", name, "--s3-region", region],
      ...["--s3-access-key", accessKey, "--s3-secret-key", secretKey, "-s", "https://127.0.0.1:6443", "-t", "x"],
    ]);
  objects.clear();
  for (const second of [0, 1, 2]) objects.set(`etcd-snapshot-server-1-170000000${second}`, Buffer.from("x"));
  expect(await words("list")).toBe(0);
  expect(lines.join("")).toContain("s3://backups/etcd-snapshot-server-1-1700000002");
  expect(await words("prune", "--snapshot-retention", "2")).toBe(0);
  expect(objects.size).toBe(2);
  expect(await words("prune", "--s3-retention", "1")).toBe(0);
  expect([...objects.keys()]).toEqual(["etcd-snapshot-server-1-1700000002"]);

  // Where the server's snapshots go is known from its own file, whatever else that says.
  const config = {
    ...{ "data-dir": directory, "node-name": "server-1", "tls-san": ["k3s.example.test"], "etcd-s3": true },
    ...{ "etcd-s3-insecure": true, "etcd-s3-endpoint": endpoint, "etcd-s3-bucket": name, "etcd-s3-region": region },
    ...{ "etcd-s3-access-key": accessKey, "etcd-s3-secret-key": secretKey },
  };
  await writeFile(join(directory, "config.yaml"), JSON.stringify(config));
  lines.length = 0;
  await runCommandLine(commands, ["etcd-snapshot", "ls", "--config", join(directory, "config.yaml")]);
  expect(lines.join("")).toContain("s3://backups/etcd-snapshot-server-1-1700000002");
});

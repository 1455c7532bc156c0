import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createKubeClient, isNotFound, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { silentLogger, withDefaults } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { runCommandLine } from "../../src/cli/run.ts";
import { readClusterAccess } from "../../src/cluster/kubeconfig.ts";
import { commands } from "../../src/commands.ts";
import { Server } from "../../src/server/compose.ts";
import { configOf } from "../given.ts";
import { hasProgram } from "./etcd-fixture.ts";
import { TestBucket } from "./s3-fixture.ts";

describe.skipIf(!hasProgram("etcd"))("the inventory of snapshots", { timeout: 60_000 }, () => {
  let dataDir: string;
  let clientPort: number;
  let server: Server;
  let kube: KubeClient;
  let bucket: TestBucket;
  const lines: string[] = [];

  beforeAll(async () => {
    vi.spyOn(process.stdout, "write").mockImplementation((text) => lines.push(String(text)) > 0);
    bucket = await TestBucket.start();
    dataDir = await mkdtemp(join(tmpdir(), "keelson-inventory-"));
    clientPort = await freePort();
    const flags = {
      "data-dir": dataDir,
      "cluster-init": "true",
      "https-listen-port": String(await freePort()),
      "bind-address": "127.0.0.1",
      "node-name": "not-the-host-name",
      "node-ip": "127.0.0.1",
      "disable-agent": "true",
      "etcd-client-port": String(clientPort),
      "etcd-peer-port": String(await freePort()),
      "etcd-metrics-port": String(await freePort()),
    };
    const config = await configOf(flags);
    server = new Server(config, { ...withDefaults(), log: silentLogger }, () => {});
    await server.start();
    kube = createKubeClient(await readClusterAccess(config.kubeconfig.path, dataDir));
  }, 60_000);

  afterAll(async () => {
    vi.restoreAllMocks();
    kube?.close();
    await server?.stop();
    await bucket[Symbol.asyncDispose]();
    await rm(dataDir, { recursive: true, force: true });
  });

  async function recorded(): Promise<string[]> {
    try {
      const { data = {} } = await kube.get<KubeObject & { data?: Record<string, string> }>(
        resources.configMaps,
        "k3s-etcd-snapshots",
        "kube-system",
      );
      expect(Object.values(data).every((text) => JSON.parse(text).nodeName === "not-the-host-name")).toBe(true);
      return Object.keys(data).map((key) => key.replace(/-not-the-host-name-\d+$/, ""));
    } catch (error) {
      if (isNotFound(error)) return [];
      throw error;
    }
  }

  /** What `keelson etcd-snapshot` printed of the snapshots, as JSON. */
  async function snapshots(...words: string[]): Promise<{ name: string }[]> {
    lines.length = 0;
    const port = ["--etcd-client-port", String(clientPort)];
    await runCommandLine(commands, ["etcd-snapshot", ...words, "--data-dir", dataDir, ...port, "-o", "json"]);
    const text = lines.join("");
    return text.startsWith("[") ? JSON.parse(text) : [];
  }

  test("has what the command saved, and no more what it deleted and pruned", async () => {
    const [byHand] = await snapshots("save", "--name", "by-hand");
    expect(await recorded()).toEqual(["local-by-hand"]);
    const store = [
      ...["--s3", "--s3-insecure", "--s3-endpoint", bucket.endpoint, "--s3-bucket", bucket.name],
      ...["--s3-region", bucket.region, "--s3-access-key", bucket.accessKey, "--s3-secret-key", bucket.secretKey],
    ];
    bucket.objects.set("by-hand-another-server-1700000000", Buffer.from("another server's"));
    await snapshots("save", "--name", "far", ...store);
    expect((await recorded()).sort()).toEqual(["local-by-hand", "local-far", "s3-far"]);

    await snapshots("delete", byHand!.name);
    expect((await recorded()).sort()).toEqual(["local-far", "s3-far"]);

    const folder = join(dataDir, "server", "db", "snapshots");
    for (const second of [0, 1]) await writeFile(join(folder, `old-not-the-host-name-170000000${second}`), "");
    await snapshots("prune", "--name", "old", "--snapshot-retention", "1");
    expect((await recorded()).sort()).toEqual(["local-far", "local-old", "s3-far"]);
  });
});

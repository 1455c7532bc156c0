import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createRegistration } from "@keelson/registration";
import { bootstrapKey, sealBootstrap } from "@keelson/secret-format";
import { silentLogger } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runCommandLine } from "../../src/cli/run.ts";
import { commands } from "../../src/commands.ts";
import { clearResetFlag, resetCluster } from "../../src/etcd/cluster-reset.ts";
import type { EmbeddedEtcdConfig } from "../../src/etcd/config.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";
import { SnapshotStore } from "../../src/etcd/snapshots/snapshot-store.ts";
import { hasProgram } from "./etcd-fixture.ts";
import { TestBucket } from "./s3-fixture.ts";

const token = "restore-secret";
const passwordKey = "/registry/secrets/kube-system/server-1.node-password.k3s";
const deps = { log: silentLogger };

describe.skipIf(!hasProgram("etcd") || !hasProgram("etcdctl"))("a snapshot on a host that has nothing else", () => {
  let root: string;
  let snapshots: { bare: string; whole: string };
  let fullToken: string;
  let serverCa: string;
  let ports: Pick<EmbeddedEtcdConfig, "clientPort" | "peerPort" | "metricsPort">;
  let hosts = 0;

  /** A server without a file, beside those before it. */
  function host(): EmbeddedEtcdConfig & { dataDir: string } {
    return {
      ...{ dataDir: join(root, `host-${hosts++}`), nodeName: "server-1", address: "127.0.0.1", ...ports },
      ...{ heartbeatIntervalMs: 50, electionTimeoutMs: 500, origin: { kind: "init" } },
    };
  }

  /** Runs etcd for a moment. */
  async function withEtcd<T>(config: EmbeddedEtcdConfig, work: (member: EmbeddedEtcd) => Promise<T>): Promise<T> {
    const member = createEmbeddedEtcd(config, deps);
    try {
      await member.start();
      return await work(member);
    } finally {
      await member.stop();
    }
  }

  const read = (dataDir: string, file: string): Promise<string> => readFile(join(dataDir, "server", file), "utf8");

  beforeAll(async () => {
    root = await mkdtemp(join(tmpdir(), "keelson-new-host-"));
    ports = { clientPort: await freePort(), peerPort: await freePort(), metricsPort: await freePort() };
    const lost = host();
    const { dataDir, nodeName, address } = lost;
    const registration = createRegistration(
      { dataDir, nodeName, nodeIps: [address], token, httpsPort: 6443, kube: { socketPath: join(dataDir, "none") } },
      deps,
    );
    await registration.prepare();
    const envelope = await registration.serverBootstrap();
    if (!envelope.ok) throw new Error(envelope.refusal.message);
    fullToken = registration.serverToken;
    await registration.stop();
    serverCa = await read(dataDir, "tls/server-ca.crt");
    snapshots = await withEtcd(lost, async ({ cluster }) => {
      const store = new SnapshotStore(join(root, "snapshots"), nodeName);
      const save = async (base: string): Promise<string> => {
        const { name } = await store.save(cluster.snapshot(), { base, compress: true, nowMs: Date.now() });
        return join(store.directory, name);
      };
      await cluster.put("/registry/a", "1");
      await cluster.put(passwordKey, "of the lost host");
      const bare = await save("bare");
      await cluster.put(bootstrapKey("a token before this one"), "gone");
      await cluster.delete(bootstrapKey("a token before this one"));
      await cluster.put(bootstrapKey(token), sealBootstrap(token, envelope.value));
      return { bare, whole: await save("whole") };
    });
    await rm(dataDir, { recursive: true });
  });

  afterAll(() => rm(root, { recursive: true, force: true }));

  test("brings the cluster back with its token: the same CAs and tokens, new certificates, the data", async () => {
    const config = host();
    await resetCluster(config, { restorePath: snapshots.whole, tokens: [fullToken] }, deps);
    expect(await read(config.dataDir, "tls/server-ca.crt")).toBe(serverCa);
    expect(await read(config.dataDir, "token")).toBe(`${fullToken}\n`);
    await clearResetFlag(config.dataDir);
    await withEtcd(config, async (member) => {
      expect(await member.memberList()).toHaveLength(1);
      expect(await member.cluster.get("/registry/a")).toBe("1");
      expect(await member.cluster.get(passwordKey)).toBeUndefined();
    });

    // The same snapshot again: what is on disk now is of that cluster, and stays.
    await resetCluster(config, { restorePath: snapshots.whole, tokens: [token] }, deps);
    await clearResetFlag(config.dataDir);
    expect((await readdir(join(config.dataDir, "server"))).filter((name) => name.startsWith("tls"))).toEqual(["tls"]);

    // Its certificates are lost later, and the token and the data are not.
    await rm(join(config.dataDir, "server", "tls"), { recursive: true });
    await resetCluster(config, {}, deps);
    expect(await read(config.dataDir, "tls/server-ca.crt")).toBe(serverCa);
    await clearResetFlag(config.dataDir);
    await withEtcd(config, async ({ cluster }) => expect(await cluster.get("/registry/a")).toBe("1"));
  });

  test("takes the place of the CAs of another cluster, which a server that was started too early has made", async () => {
    const config = host();
    const { dataDir, nodeName, address } = config;
    const identity = { dataDir, nodeName, nodeIps: [address], token, httpsPort: 6443 };
    const hasty = createRegistration({ ...identity, kube: { socketPath: join(dataDir, "none") } }, deps);
    await hasty.prepare();
    await hasty.stop();
    const hastyCa = await read(dataDir, "tls/server-ca.crt");
    await resetCluster(config, { restorePath: snapshots.whole, tokens: [token] }, deps);
    expect(await read(dataDir, "tls/server-ca.crt")).toBe(serverCa);
    expect(await read(dataDir, "token")).toBe(`${fullToken}\n`);
    const [kept] = (await readdir(join(dataDir, "server"))).filter((name) => /^tls-\d+$/.test(name));
    expect(await read(dataDir, `${kept}/server-ca.crt`)).toBe(hastyCa);
  });

  test("comes by its name from the bucket, as K3s is told it", async () => {
    const { dataDir } = host();
    await using bucket = await TestBucket.start();
    const name = basename(snapshots.whole);
    bucket.objects.set(`cluster-a/${name}`, await readFile(snapshots.whole));
    const reset = (snapshot: string) =>
      runCommandLine(commands, [
        ...["server", "--cluster-reset", "--cluster-reset-restore-path", snapshot, "--token", token],
        ...["--data-dir", dataDir, "--node-name", "server-1", "--node-ip", "127.0.0.1"],
        ...Object.entries(ports).map(([port, value]) => `--etcd-${port.replace("Port", "-port")}=${value}`),
        ...["--etcd-s3", "--etcd-s3-insecure", "--etcd-s3-endpoint", bucket.endpoint, "--etcd-s3-bucket", bucket.name],
        ...["--etcd-s3-folder", "cluster-a", "--etcd-s3-region", bucket.region],
        ...["--etcd-s3-access-key", bucket.accessKey, "--etcd-s3-secret-key", bucket.secretKey],
      ]);
    await expect(reset("gone-server-1-1700000000")).rejects.toMatchObject({ code: "snapshot/not-found" });
    expect(await reset(name)).toBe(0);
    expect(await read(dataDir, "tls/server-ca.crt")).toBe(serverCa);
    expect((await readdir(join(dataDir, "server", "db"))).sort()).toEqual(["etcd", "reset-flag"]);
  });

  test.each([
    { what: "no token", tokens: [], snapshot: "whole", code: "token/required", hint: "--token" },
    {
      what: "another token",
      tokens: ["wrong"],
      snapshot: "whole",
      code: "bootstrap/other-token",
      hint: "the server token",
    },
    { what: "no envelope", tokens: [token], snapshot: "bare", code: "bootstrap/missing", hint: "another snapshot" },
  ] as const)("$what: refused, and what was on the host stays as it was", async ({ tokens, snapshot, code, hint }) => {
    const config = host();
    const live = join(config.dataDir, "server", "db", "etcd", "member", "wal");
    await mkdir(live, { recursive: true });
    await writeFile(join(live, "0.wal"), "");
    const files = async (): Promise<string[]> =>
      (await readdir(config.dataDir, { recursive: true })).filter((file) => file !== "server/owner");
    const before = await files();
    await expect(resetCluster(config, { restorePath: snapshots[snapshot], tokens }, deps)).rejects.toMatchObject({
      code,
      hint: expect.stringContaining(hint),
    });
    expect(await files()).toEqual(before);
  });
});

import { readFileSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { createKubeClient, type KubeClient, resources } from "@keelson/kube-client";
import { createLogger, type Logger, withDefaults } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { readClusterAccess } from "../../src/cluster/kubeconfig.ts";
import { localClientUrl } from "../../src/etcd/config.ts";
import { etcdLayout } from "../../src/etcd/layout.ts";
import { Server } from "../../src/server/compose.ts";
import { configOf } from "../given.ts";
import { hasProgram } from "./etcd-fixture.ts";

const manyKeys = 12_000;
const all = { key: Buffer.from("/many/"), rangeEnd: Buffer.from("/many0") };

describe.skipIf(!hasProgram("etcd"))(
  "a SQLite server that is started with --cluster-init",
  { timeout: 120_000 },
  () => {
    let dataDir: string;
    let ports: { https: number; client: number; peer: number; metrics: number };
    let server: Server;
    let before: string[];

    beforeAll(async () => {
      dataDir = await mkdtemp(join(tmpdir(), "keelson-migrate-"));
      const [https, client, peer, metrics] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
      ports = { https, client, peer, metrics };
    });

    afterAll(async () => {
      await server?.stop();
      await rm(dataDir, { recursive: true, force: true });
    });

    async function start(flags: Record<string, string>, log?: Logger): Promise<void> {
      const given = {
        "data-dir": dataDir,
        "https-listen-port": String(ports.https),
        "bind-address": "127.0.0.1",
        "node-ip": "127.0.0.1",
        "node-name": "server-1",
        "datastore-listen-address": "",
        "disable-agent": "true",
        "etcd-client-port": String(ports.client),
        "etcd-peer-port": String(ports.peer),
        "etcd-metrics-port": String(ports.metrics),
        token: "a-cluster-secret",
        ...flags,
      };
      const config = await configOf(given);
      server = new Server(config, withDefaults(log === undefined ? {} : { log }), () => {});
      await server.start();
    }

    function etcdClient(): EtcdClient {
      const { serverCa, clientCert, clientKey } = etcdLayout(dataDir).certificates;
      const read = (path: string): string => readFileSync(path, "utf8");
      return createEtcdClient({
        endpoints: [localClientUrl({ clientPort: ports.client })],
        tls: () => ({ ca: read(serverCa), cert: read(clientCert), key: read(clientKey) }),
      });
    }

    async function withKube<T>(action: (kube: KubeClient) => Promise<T>): Promise<T> {
      const kube = createKubeClient(await readClusterAccess(undefined, dataDir));
      try {
        return await action(kube);
      } finally {
        kube.close();
      }
    }

    const contents = async (client: EtcdClient): Promise<string[]> =>
      (await client.range(all)).kvs.map(({ key, value }) => `${key} ${value}`);

    test("has its data in SQLite before", async () => {
      await start({});
      await withKube((kube) =>
        kube.create(
          resources.configMaps,
          { metadata: { name: "kept", namespace: "default" }, data: { a: "1" } } as never,
          "default",
        ),
      );
      const sqlite = createEtcdClient({ endpoints: [`unix://${join(dataDir, "server", "kine.sock")}`] });
      const { id } = await sqlite.leaseGrant(600, 77n);
      const puts = Array.from({ length: manyKeys }, (_, index) => ({
        key: Buffer.from(`/many/${index}`),
        value: Buffer.from(`value ${index} ${"x".repeat(index % 500)}`),
        ...(index === 7 ? { lease: id } : {}),
      }));
      for (let at = 0; at < puts.length; at += 100) {
        await sqlite.txn({ success: puts.slice(at, at + 100).map((requestPut) => ({ requestPut })) });
      }
      before = await contents(sqlite);
      expect(before).toHaveLength(manyKeys);
      sqlite.close();
      await server.stop();
    });

    test("fails to start when etcd dies under the copy, and keeps the database", async () => {
      let kill: Promise<void> | undefined;
      const log = createLogger({
        name: "test",
        destination: {
          write: (line) => {
            if (line.includes(": copying keys=")) kill ??= killEtcd();
          },
        },
      });
      await expect(start({ "cluster-init": "true" }, log)).rejects.toMatchObject({ code: "etcd/migration-failed" });
      await kill;
      await server.stop();
      expect(await readdir(join(dataDir, "server", "db"))).toContain("state.db");
    });

    test("has all of it in etcd after the next start, and not only half of it or what the first try left", async () => {
      await start({});
      const etcd = etcdClient();
      expect(await contents(etcd)).toEqual(before);
      const leased = await etcd.range({ key: Buffer.from("/many/7") });
      expect(leased.kvs[0]?.lease).toBe(77n);
      expect((await etcd.leaseTimeToLive(77n, false)).ttl).toBeGreaterThan(300);
      etcd.close();
      const kept = await withKube((kube) => kube.get(resources.configMaps, "kept", "default"));
      expect(kept).toMatchObject({ data: { a: "1" } });
      const files = await readdir(join(dataDir, "server", "db"));
      expect(files).toContain("state.db.migrated");
      expect(files).not.toContain("state.db");
      expect(await readdir(etcdLayout(dataDir).data)).not.toContain("incomplete");
      await server.stop();
    });

    test("does it once: what was changed in etcd stays", async () => {
      await start({ "cluster-init": "true" });
      await withKube((kube) => kube.delete(resources.configMaps, "kept", { namespace: "default" }));
      await server.stop();
      await start({ "cluster-init": "true" });
      await expect(withKube((kube) => kube.get(resources.configMaps, "kept", "default"))).rejects.toMatchObject({
        status: 404,
      });
    });

    async function killEtcd(): Promise<void> {
      const [pid] = (await readFile(etcdLayout(dataDir).pidFile, "utf8")).split(" ");
      process.kill(Number(pid), "SIGKILL");
    }
  },
);

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { type Backend, backends, lacks, requireBinary, startAdapter, startBackend, startEtcd } from "../src/index.ts";

const exec = promisify(execFile);
const keelson = join(import.meta.dirname, "../../apps/keelson/bin/keelson.js");
const everything = { key: Buffer.from("\0"), rangeEnd: Buffer.from("\0") };

/** `keelson datastore restore`; what it prints, or the error it ends with. */
async function restore(file: string, endpoint: string): Promise<string> {
  const args = [keelson, "datastore", "restore", file, "--endpoint", endpoint];
  return exec(process.execPath, args).then(
    ({ stdout }) => stdout,
    (error: { stderr: string }) => Promise.reject(new Error(error.stderr)),
  );
}

/** Writes that leave live keys, deleted ones, old versions and a lease behind. Each changes one key. */
async function fill(client: EtcdClient): Promise<bigint> {
  const { id } = await client.leaseGrant(600);
  for (let at = 0; at < 700; at++) {
    const lease = at === 303 ? id : 0n;
    await client.put({ key: Buffer.from(`/registry/${at % 500}`), value: Buffer.alloc(300, at), lease });
  }
  // More than are restored in one commit.
  await Promise.all(Array.from({ length: 1_000 }, (_, at) => client.put({ key: Buffer.from(`/registry/more/${at}`) })));
  await client.put({ key: Buffer.from([0, 255, 1]), value: Buffer.alloc(200_000, "binary") });
  for (let at = 0; at < 20; at++) await client.deleteRange({ key: Buffer.from(`/registry/${at * 10}`) });
  return id;
}

/** Holds restores into a store up from row 1,000 on. `reached` resolves when earlier rows are there. */
async function holdRestore(backend: Backend, endpoint: string) {
  const count = "SELECT count(*) AS rows FROM kine WHERE name LIKE '/registry/%'";
  const until = async (rows: () => Promise<number> | number): Promise<void> => {
    while ((await rows()) === 0) await delay(20);
  };
  if (backend === "sqlite") {
    const database = new DatabaseSync(endpoint.replace("sqlite://", ""));
    database.exec(
      "CREATE TRIGGER hold BEFORE INSERT ON kine WHEN NEW.id > 1000 BEGIN SELECT count(*) FROM kine a, kine b, kine c, kine d; END",
    );
    return {
      reached: () => until(() => (database.prepare(count).get() as { rows: number }).rows),
      release() {
        database.exec("DROP TRIGGER hold");
        database.close();
      },
    };
  }
  const psql = async (sql: string): Promise<string> =>
    (await exec("psql", [endpoint, "--quiet", "--tuples-only", "--no-align", "--command", sql])).stdout;
  await psql(`CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(600); RETURN NEW; END';
    CREATE TRIGGER hold BEFORE INSERT ON kine FOR EACH ROW WHEN (NEW.id > 1000) EXECUTE FUNCTION hold()`);
  return {
    reached: () => until(async () => Number(await psql(count))),
    async release() {
      await psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
      await psql("DROP TRIGGER hold ON kine");
    },
  };
}

/** A snapshot that etcdctl has taken, and what the server it came from held. */
interface Taken {
  file: string;
  leaseId: bigint;
  revision: number;
  kvs: unknown[];
}

async function take(url: string, file: string): Promise<Taken> {
  const client = createEtcdClient({ endpoints: [url] });
  const leaseId = await fill(client);
  await exec(requireBinary("etcdctl"), ["--endpoints", url, "snapshot", "save", file], {
    env: { ...process.env, ETCDCTL_API: "3" },
  });
  const { header, kvs } = await client.range(everything);
  client.close();
  return { file, leaseId, revision: header!.revision, kvs };
}

describe.skipIf(lacks("etcd", "etcdctl", "postgres", "mariadbd"))(
  "a snapshot that etcdctl has taken",
  { timeout: 120_000 },
  () => {
    let folder: string;
    const taken: Record<string, Taken> = {};

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), "keelson-restore-"));
      const etcd = await startEtcd();
      taken.etcd = await take(etcd.url, join(folder, "etcd.db"));
      await etcd.close();
      const store = await startBackend("sqlite");
      const adapter = await startAdapter(store.freshEndpoint());
      taken.Keelson = await take(adapter.url, join(folder, "keelson.db"));
      await adapter.process.stop();
      await store.close();
    }, 120_000);
    afterAll(() => rm(folder, { recursive: true, force: true }));

    it.each<Backend>(backends)("fills a new %s database, from etcd and from Keelson", async (backend) => {
      const store = await startBackend(backend);
      onTestFinished(() => store.close());
      for (const { file, leaseId, revision, kvs } of Object.values(taken)) {
        const endpoint = store.freshEndpoint();
        expect(await restore(file, endpoint)).toMatch(
          new RegExp(`restored ${kvs.length} keys and 1 leases of .*; the store is at revision ${revision}\nstart `),
        );
        await expect(restore(file, endpoint)).rejects.toThrow(/already holds keys[\s\S]*new database/);

        const adapter = await startAdapter(endpoint);
        const client = createEtcdClient({ endpoints: [adapter.url] });
        const restored = await client.range(everything);
        expect(restored.header?.revision).toBe(revision);
        expect(restored.kvs).toEqual(kvs);
        expect(await client.leaseTimeToLive(leaseId, true)).toMatchObject({
          grantedTtl: 600,
          keys: [Buffer.from("/registry/303")],
        });
        // Older states are not in the snapshot: whoever asks for one has to know.
        await expect(client.range({ ...everything, revision: revision - 1 })).rejects.toThrow("has been compacted");
        const put = await client.put({ key: Buffer.from("/registry/new"), value: Buffer.from("x") });
        expect(put.header?.revision).toBe(revision + 1);
        client.close();
        await adapter.process.stop();
      }
    });

    it.each<Backend>(["sqlite", "postgres"])("restored into %s is not served half", async (backend) => {
      const store = await startBackend(backend);
      onTestFinished(() => store.close());
      const endpoint = store.freshEndpoint();
      const { file, kvs, revision } = taken.etcd!;
      // Makes the tables, so that the third batch of rows can be held up.
      await (await startAdapter(endpoint)).process.stop();
      const hold = await holdRestore(backend, endpoint);
      const child = spawn(process.execPath, [keelson, "datastore", "restore", file, "--endpoint", endpoint]);
      await hold.reached();
      child.kill("SIGKILL");
      await once(child, "exit");
      await hold.release();
      await expect(startAdapter(endpoint)).rejects.toThrow(/was interrupted[\s\S]*restore` again/);

      expect(await restore(file, endpoint)).toContain(`restored ${kvs.length} keys`);
      const adapter = await startAdapter(endpoint);
      const client = createEtcdClient({ endpoints: [adapter.url] });
      const restored = await client.range(everything);
      expect(restored.kvs).toEqual(kvs);
      expect(restored.header?.revision).toBe(revision);
      client.close();
      await adapter.process.stop();
    });

    it("is refused when it is damaged or cannot be read, and the database stays untouched", async () => {
      const store = await startBackend("sqlite");
      onTestFinished(() => store.close());
      const endpoint = store.freshEndpoint();
      const copied = join(folder, "copied.db");
      await writeFile(copied, (await readFile(taken.etcd!.file)).subarray(0, -32));
      await expect(restore(copied, endpoint)).rejects.toThrow(/has no hash[\s\S]*--skip-hash-check/);
      const damaged = join(folder, "damaged.db");
      const bytes = await readFile(taken.etcd!.file);
      bytes[bytes.indexOf("/registry/77")]! ^= 1;
      await writeFile(damaged, bytes);
      await expect(restore(damaged, endpoint)).rejects.toThrow("does not match its hash");
      await expect(restore(join(folder, "missing.db"), endpoint)).rejects.toThrow("cannot read the snapshot");
      await expect(restore(taken.etcd!.file, "http://127.0.0.1:2379")).rejects.toThrow("etcdctl snapshot restore");
      expect(await restore(taken.etcd!.file, endpoint)).toContain("restored");
    });
  },
);

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { createEtcdClient } from "@keelson/etcd-client";
import { services } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type AdapterServer,
  type BackendServer,
  lacks,
  requireBinary,
  startAdapter,
  startBackend,
} from "../src/index.ts";

const exec = promisify(execFile);
const noSpace = 1;
/** The replicas learn of each other by a heartbeat every 10 s. */
const eventually = { timeout: 30_000, interval: 500 };

describe.skipIf(lacks("etcdctl", "postgres", "initdb"))(
  "etcdctl sees two replicas on one PostgreSQL as one cluster",
  { timeout: 60_000 },
  () => {
    let store: BackendServer;
    let replicas: AdapterServer[];

    beforeAll(async () => {
      store = await startBackend("postgres");
      const endpoint = store.freshEndpoint();
      replicas = [await startAdapter(endpoint, { name: "a" }), await startAdapter(endpoint, { name: "b" })];
    }, 60_000);
    afterAll(async () => {
      for (const { process } of replicas) await process.stop();
      await store.close();
    });

    /** Asks one replica; `--cluster` makes etcdctl ask all that the member list names. */
    const etcdctl = async (replica: number, line: string): Promise<string> => {
      const args = ["--endpoints", replicas[replica]!.url, ...line.split(" ")];
      const { stdout } = await exec(requireBinary("etcdctl"), args, { env: { ...process.env, ETCDCTL_API: "3" } });
      return stdout;
    };
    interface EndpointStatus {
      Endpoint: string;
      Status: {
        header: { cluster_id: number; member_id: number };
        dbSize: number;
        dbSizeInUse: number;
        leader: number;
      };
    }
    const statuses = async (): Promise<EndpointStatus[]> =>
      JSON.parse(await etcdctl(0, "endpoint status --cluster -w json"));

    it("member list names both, whichever is asked", async () => {
      for (const asked of [0, 1]) {
        await expect
          .poll(async () => {
            const { members } = JSON.parse(await etcdctl(asked, "member list -w json")) as {
              members: { name: string; clientURLs: string[] }[];
            };
            return members.map(({ name, clientURLs }) => [name, ...clientURLs]).sort();
          }, eventually)
          .toEqual([
            ["a", replicas[0]!.url],
            ["b", replicas[1]!.url],
          ]);
      }
    });

    it("endpoint status shows one cluster, two members and how much the database really holds", async () => {
      const before = await statuses();
      expect(before.map(({ Endpoint }) => Endpoint).sort()).toEqual(replicas.map(({ url }) => url).sort());
      expect(new Set(before.map(({ Status }) => Status.header.cluster_id)).size).toBe(1);
      expect(new Set(before.map(({ Status }) => Status.header.member_id)).size).toBe(2);
      const client = createEtcdClient({ endpoints: [replicas[0]!.url] });
      const value = Buffer.from(Array.from({ length: 100_000 }, () => Math.floor(Math.random() * 256)));
      for (let at = 0; at < 50; at++) await client.put({ key: Buffer.from(`/large/${at}`), value });
      client.close();
      const written = 50 * value.length;
      await expect
        .poll(
          async () => (await statuses()).map(({ Status }, at) => Status.dbSize - before[at]!.Status.dbSize),
          eventually,
        )
        .toEqual([expect.toSatisfy((grown) => grown >= written && grown < 2 * written), expect.any(Number)]);
    });

    it("endpoint health, hashkv and defrag work on all", async () => {
      const health = JSON.parse(await etcdctl(1, "endpoint health --cluster -w json")) as { health: boolean }[];
      expect(health.map((endpoint) => endpoint.health)).toEqual([true, true]);
      const hashes = JSON.parse(await etcdctl(1, "endpoint hashkv --cluster -w json")) as {
        HashKV: { hash: number; compact_revision: number };
      }[];
      expect(hashes).toHaveLength(2);
      expect(hashes[0]!.HashKV.hash).toBe(hashes[1]!.HashKV.hash);
      expect(hashes[0]!.HashKV.hash).not.toBe(0);
      expect(await etcdctl(0, "defrag --cluster")).toMatch(/^(Finished defragmenting etcd member\[.*\]\n){2}$/);
    });

    it("an alarm raised at one holds at the other, until etcdctl disarms it anywhere", async () => {
      const [a, b] = replicas.map(({ url }) => createEtcdClient({ endpoints: [url] }));
      const put = (client: typeof a) => client!.put({ key: Buffer.from("x"), value: Buffer.from("x") });
      const memberId = (await put(a)).header!.memberId;
      await a!.call(services.maintenance.alarm, { action: 1, memberId, alarm: noSpace });
      expect(await etcdctl(1, "alarm list")).toBe(`memberID:${memberId} alarm:NOSPACE \n`);
      await expect(put(b)).rejects.toThrow("database space exceeded");
      // Deleting is what helps.
      await b!.deleteRange({ key: Buffer.from("x") });
      await etcdctl(1, "alarm disarm");
      await put(a);
      expect(await etcdctl(0, "alarm list")).toBe("");
      a!.close();
      b!.close();
    });

    it("member list forgets a replica that has stopped", async () => {
      await replicas[1]!.process.stop();
      await expect.poll(async () => (await etcdctl(0, "member list")).trim().split("\n").length, eventually).toBe(1);
    });
  },
);

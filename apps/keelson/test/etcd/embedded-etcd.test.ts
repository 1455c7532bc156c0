import { mkdir, readdir, readFile } from "node:fs/promises";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { createLogger } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { clearResetFlag, resetCluster } from "../../src/etcd/cluster-reset.ts";
import { parseDbInfo } from "../../src/etcd/db-info.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";
import { SnapshotStore } from "../../src/etcd/snapshots/snapshot-store.ts";
import { hasProgram, TestCluster, type TestServer } from "./etcd-fixture.ts";

const lines: string[] = [];
const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });
const fast = { heartbeatIntervalMs: 50, electionTimeoutMs: 500 };

describe.skipIf(!hasProgram("etcd") || !hasProgram("etcdctl"))("three servers with embedded etcd", () => {
  let cluster: TestCluster;
  const servers: TestServer[] = [];
  const members: EmbeddedEtcd[] = [];
  let snapshotPath: string;

  function first(server: TestServer): EmbeddedEtcd {
    return createEmbeddedEtcd({ ...server, ...fast, origin: { kind: "init" } }, { log });
  }

  /** A server that finds the others through `through`, as it would through that server's /db/info. */
  function joining(server: TestServer, through: EmbeddedEtcd, onRemoved?: () => void): EmbeddedEtcd {
    const origin = { kind: "join" as const, members: async () => parseDbInfo(await through.dbInfo()) };
    return createEmbeddedEtcd({ ...server, ...fast, origin }, { log, ...(onRemoved ? { onRemoved } : {}) });
  }

  beforeAll(async () => {
    cluster = await TestCluster.create();
    for (const name of ["server-1", "server-2", "server-3"]) servers.push(await cluster.server(name));
  });

  afterAll(async () => {
    await Promise.all(members.map((member) => member.stop()));
    await cluster.remove();
  });

  test("the first one starts a cluster of its own", async () => {
    members[0] = first(servers[0]!);
    await members[0].start();
    const [self] = await members[0].memberList();
    expect(self).toMatchObject({ isLearner: false, peerUrls: [`https://127.0.0.1:${servers[0]!.peerPort}`] });
    expect(self!.name).toMatch(/^server-1-[0-9a-f]{8}$/);
    expect(await members[0].health()).toBeUndefined();
  });

  test("two more join at the same time and become voters", async () => {
    members[1] = joining(servers[1]!, members[0]!);
    members[2] = joining(servers[2]!, members[0]!);
    await Promise.all([members[1].start(), members[2].start()]);
    const status = await members[0]!.status();
    expect(status.cluster).toMatchObject({ voters: 3, healthy: 3, warning: undefined });
    expect(await members[2].status()).toMatchObject({ isVoter: true, state: "ready" });
  });

  test("a second server of a name that is taken is refused", async () => {
    const impostor = { ...(await cluster.server("impostor")), nodeName: "server-2" };
    const member = joining(impostor, members[0]!);
    await expect(member.start()).rejects.toMatchObject({ code: "etcd/join-refused" });
    await member.stop();
  });

  test("what was written survives the crash of a member, which comes back by itself", async () => {
    await members[0]!.cluster.put("/registry/a", "1");
    process.kill(await pidOf(servers[1]!), "SIGKILL");
    await members[2]!.cluster.put("/registry/b", "2");
    await expect.poll(() => members[1]!.cluster.get("/registry/b").catch(() => ""), { timeout: 10_000 }).toBe("2");
  });

  test("a restarted member keeps its identity and publishes a new address", async () => {
    const before = members[1]!.memberName;
    await members[1]!.stop();
    servers[1] = { ...servers[1]!, peerPort: (await cluster.server("spare")).peerPort };
    members[1] = joining(servers[1], members[0]!);
    await members[1].start();
    expect(members[1].memberName).toBe(before);
    const listed = (await members[0]!.memberList()).find((member) => member.name === before);
    expect(listed?.peerUrls).toEqual([`https://127.0.0.1:${servers[1].peerPort}`]);
  });

  test("a snapshot is complete and named", async () => {
    const store = new SnapshotStore(join(servers[0]!.dataDir, "server/db/snapshots"), "server-1");
    const content = members[0]!.cluster.snapshot();
    const snapshot = await store.save(content, { base: "on-demand", compress: true, nowMs: Date.now() });
    expect(snapshot.name).toMatch(/^on-demand-server-1-\d+\.zip$/);
    expect(await store.list()).toEqual([snapshot]);
    snapshotPath = join(store.directory, snapshot.name);
  });

  test("a removed member stops, and joins anew as another member when started again", async () => {
    let removed = false;
    const member = members[2]!;
    const { memberName } = member;
    await member.stop();
    members[2] = joining(servers[2]!, members[0]!, () => {
      removed = true;
    });
    await members[2].start();
    expect(await members[0]!.removeMember({ name: memberName, address: "10.9.9.9" })).toBe(false);
    expect(await members[0]!.removeMember({ name: memberName, address: "127.0.0.1" })).toBe(true);
    await expect.poll(() => removed, { timeout: 10_000 }).toBe(true);
    expect(await members[2].health()).toMatch(/removed/);
    await members[2].stop();
    await expect
      .poll(() => lines.join(""))
      .toMatch(/two servers are NOT highly available|removed from the etcd cluster/);

    members[2] = joining(servers[2]!, members[0]!);
    await members[2].start();
    expect(members[2].memberName).not.toBe(memberName);
    expect(await readdir(join(servers[2]!.dataDir, "server/db"))).toContainEqual(
      expect.stringMatching(/^etcd-backup-\d+$/),
    );
  });

  test("a member that was removed while it was away joins anew at its next start", async () => {
    const { memberName } = members[2]!;
    await members[2]!.stop();
    expect(await members[0]!.removeMember({ name: memberName, address: "127.0.0.1" })).toBe(true);
    members[2] = joining(servers[2]!, members[0]!);
    await members[2].start();
    expect(members[2].memberName).not.toBe(memberName);
    expect(await members[2].health()).toBeUndefined();
  });

  test("after the loss of all, one restores the snapshot and the others join it", async () => {
    await members[0]!.cluster.put("/registry/after-snapshot", "lost");
    await Promise.all(members.map((member) => member.stop()));
    const config = { ...servers[0]!, ...fast, origin: { kind: "init" as const } };
    await resetCluster(config, { restorePath: snapshotPath }, { log });
    await expect(resetCluster(config, {}, { log })).rejects.toMatchObject({ code: "etcd/already-reset" });
    await clearResetFlag(servers[0]!.dataDir);

    members[0] = first(servers[0]!);
    await members[0].start();
    expect(await members[0].memberList()).toHaveLength(1);
    expect(await members[0].cluster.get("/registry/b")).toBe("2");
    expect(await members[0].cluster.get("/registry/after-snapshot")).toBeUndefined();

    const fresh = await cluster.server("server-4");
    members[1] = joining(fresh, members[0]);
    await members[1].start();
    expect(await members[1].cluster.get("/registry/b")).toBe("2");
  });

  test("a reset without a snapshot keeps the data of one server", async () => {
    await Promise.all(members.map((member) => member.stop()));
    const config = { ...servers[0]!, ...fast, origin: { kind: "init" as const } };
    await resetCluster(config, {}, { log });
    await clearResetFlag(servers[0]!.dataDir);
    members[0] = first(servers[0]!);
    await members[0].start();
    expect(await members[0].memberList()).toHaveLength(1);
    expect(await members[0].cluster.get("/registry/a")).toBe("1");
  });
});

const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));

test.skipIf(!hasProgram("etcd") || !hasIpv6)("servers whose addresses are of IPv6 form a cluster too", async () => {
  const cluster = await TestCluster.create();
  const members: EmbeddedEtcd[] = [];
  try {
    for (const name of ["server-1", "server-2"]) {
      const server = { ...(await cluster.server(name)), address: "::1" };
      const through = members[0];
      const origin =
        through === undefined
          ? { kind: "init" as const }
          : { kind: "join" as const, members: async () => parseDbInfo(await through.dbInfo()) };
      members.push(createEmbeddedEtcd({ ...server, ...fast, origin }, { log }));
      await members.at(-1)!.start();
    }
    const listed = await members[0]!.memberList();
    expect(listed.flatMap(({ clientUrls }) => clientUrls)).toEqual([
      expect.stringMatching(/^https:\/\/\[::1\]:\d+$/),
      expect.stringMatching(/^https:\/\/\[::1\]:\d+$/),
    ]);
    expect((await members[1]!.status()).cluster).toMatchObject({ healthy: 2, hasQuorum: true });
    expect(await members[0]!.removeMember({ name: members[1]!.memberName, address: "::1" })).toBe(true);
  } finally {
    await Promise.all(members.map((member) => member.stop()));
    await cluster.remove();
  }
});

async function pidOf(server: TestServer): Promise<number> {
  await mkdir(join(server.dataDir, "server/db"), { recursive: true });
  return Number((await readFile(join(server.dataDir, "server/db/etcd.pid"), "utf8")).split(" ")[0]);
}

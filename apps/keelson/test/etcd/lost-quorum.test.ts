import { createLogger, ManualClock } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connectEtcd } from "../../src/etcd/connect.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";
import { etcdLayout } from "../../src/etcd/layout.ts";
import { LeaderDuties } from "../../src/etcd/leader-duties.ts";
import { fast, hasProgram, TestCluster, type TestServer } from "./etcd-fixture.ts";

const names = ["server-1", "server-2"];
const lines: string[] = [];
const log = createLogger({ name: "test", destination: { write: (line) => lines.push(line) } });

describe.skipIf(!hasProgram("etcd"))("of two servers with embedded etcd, one is away", { timeout: 60_000 }, () => {
  let cluster: TestCluster;
  const servers: TestServer[] = [];
  const etcds: EmbeddedEtcd[] = [];
  const clock = new ManualClock();
  let duties: LeaderDuties;
  const said = (words: string): string[] => lines.filter((line) => line.includes(words));
  const peerUrl = (index: number): string => `https://127.0.0.1:${servers[index]!.peerPort}`;
  const again = (index: number): EmbeddedEtcd =>
    createEmbeddedEtcd({ ...servers[index]!, ...fast, origin: { kind: "init" } }, { log });

  beforeAll(async () => {
    cluster = await TestCluster.create();
    await cluster.startMembers(names, servers, etcds);
  }, 90_000);

  afterAll(async () => {
    await Promise.all(etcds.map((etcd) => etcd.stop()));
    await cluster.remove();
  });

  test("the one that runs says that the quorum is lost, and who is missing", async () => {
    await etcds[1]!.stop();
    await expect.poll(async () => (await etcds[0]!.status()).cluster?.hasQuorum, { timeout: 10_000 }).toBe(false);
    const connect = connectEtcd(etcdLayout(servers[0]!.dataDir).certificates);
    duties = new LeaderDuties(connect([etcds[0]!.clientUrl]), connect, { log, clock });
    duties.start();
    // Its etcd leads on for an election timeout.
    await expect
      .poll(
        () => {
          clock.advance(15_000);
          return said("lost its quorum");
        },
        { timeout: 10_000, interval: 500 },
      )
      .toHaveLength(1);
    expect(said("lost its quorum")[0]).toContain(`${etcds[1]!.memberName} (${peerUrl(1)})`);
  });

  test("one that starts waits for the others, says for whom, and can be stopped meanwhile", async () => {
    await etcds[0]!.stop();
    etcds[0] = again(0);
    const started = etcds[0].start().then(
      () => "started",
      (error: Error) => error.message,
    );
    await expect.poll(() => said("waiting for the etcd cluster"), { timeout: 15_000 }).toHaveLength(1);
    expect(said("waiting for the etcd cluster")[0]).toContain(`${etcds[1]!.memberName} (${peerUrl(1)})`);
    expect(await etcds[0].status()).toMatchObject({
      isVoter: false,
      cluster: { voters: 2, healthy: 1, hasQuorum: false },
    });
    await etcds[0].stop();
    expect(await started).toBe("embedded etcd was stopped");
  });

  test("both go on by themselves when they are two again, and say so once", async () => {
    etcds[0] = again(0);
    const started = etcds[0].start();
    await expect.poll(async () => (await etcds[0]!.status()).cluster?.healthy, { timeout: 15_000 }).toBe(1);
    etcds[1] = again(1);
    await Promise.all([started, etcds[1].start()]);
    expect(await etcds[0].health()).toBeUndefined();
    await expect.poll(async () => (await etcds[0]!.status()).cluster?.hasQuorum).toBe(true);
    await expect
      .poll(
        () => {
          clock.advance(15_000);
          return said("has its quorum again");
        },
        { timeout: 10_000, interval: 500 },
      )
      .toHaveLength(1);
    await duties.stop();
    expect(said("lost its quorum")).toHaveLength(1);
  });
});

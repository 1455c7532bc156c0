import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { CommandModule } from "../../src/cli/command.ts";
import type { EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";
import { listCommand, removeCommand } from "../../src/etcd/member-commands.ts";
import type { MemberView } from "../../src/etcd/member-health.ts";
import { runCommand } from "../given.ts";
import { hasProgram, TestCluster, type TestServer } from "./etcd-fixture.ts";

const names = ["server-1", "server-2", "server-3"];

async function run(
  command: CommandModule,
  server: TestServer,
  args: string[] = [],
  flags: Record<string, string> = {},
): Promise<string> {
  const given = { "data-dir": server.dataDir, "etcd-client-port": String(server.clientPort), ...flags };
  return (await runCommand(command, given, args)).text;
}

describe.skipIf(!hasProgram("etcd"))("keelson etcd member", { timeout: 60_000 }, () => {
  let cluster: TestCluster;
  const servers: TestServer[] = [];
  const etcds: EmbeddedEtcd[] = [];

  beforeAll(async () => {
    cluster = await TestCluster.create();
    await cluster.startMembers(names, servers, etcds);
  }, 90_000);

  afterAll(async () => {
    await Promise.all(etcds.map((etcd) => etcd.stop()));
    await cluster.remove();
  });

  const list = async (): Promise<MemberView[]> =>
    JSON.parse(await run(listCommand, servers[0]!, [], { output: "json" })) as MemberView[];

  test("ls shows every member and how it is", async () => {
    const members = await list();
    expect(members.map(({ name }) => name).sort()).toEqual(etcds.map(({ memberName }) => memberName).sort());
    expect(members.every(({ answers, isStarted, isLearner }) => answers && isStarted && !isLearner)).toBe(true);
    expect(members.filter(({ isLeader }) => isLeader)).toHaveLength(1);
    expect(members.filter(({ isSelf }) => isSelf)).toMatchObject([{ name: etcds[0]!.memberName }]);
    expect(await run(listCommand, servers[0]!)).toMatch(/^ID +NAME +STATE +PEER +CLIENT\n[0-9a-f]+ +server-\d/);
  });

  test("remove takes the member of a dead server away, and refuses what would stop the cluster or its own server", async () => {
    await etcds[2]!.stop();
    const remove = (wanted: string) => run(removeCommand, servers[0]!, [wanted]);
    await expect(remove("server-9")).rejects.toMatchObject({ code: "etcd/no-member" });
    await expect(remove("server-2")).rejects.toMatchObject({ code: "etcd/loses-quorum" });
    expect(await run(listCommand, servers[0]!)).toMatch(/server-3-\w+ +voter, no answer/);
    expect(await remove("server-3")).toBe(
      `etcd member ${etcds[2]!.memberName} (https://127.0.0.1:${servers[2]!.peerPort}) removed`,
    );
    const [own] = (await list()).filter(({ isSelf }) => isSelf);
    await expect(remove(own!.id)).rejects.toMatchObject({ code: "etcd/own-member" });
    expect(await list()).toHaveLength(2);
  });

  test("without a quorum it says so, and who is missing", async () => {
    await etcds[1]!.stop();
    await expect(run(removeCommand, servers[0]!, ["server-2"], { force: "true" })).rejects.toMatchObject({
      code: "etcd/no-quorum",
      message: expect.stringContaining(etcds[1]!.memberName),
    });
    expect(await list()).toHaveLength(2);
  });

  test("where there is no server it says so", async () => {
    await expect(run(listCommand, { ...servers[0]!, dataDir: "/nonexistent" })).rejects.toMatchObject({
      code: "etcd/none",
    });
  });
});

import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { BackgroundClient } from "../src/background-client.ts";
import { Cluster } from "../src/cluster.ts";

const dataDir = "/var/lib/keelson";
const copy = `${dataDir}/copy-of-the-snapshot`;

describe.skipIf(inject("noEngine") !== "")("the total loss of three servers with embedded etcd", () => {
  let cluster: Cluster;
  let before: BackgroundClient;
  let after: BackgroundClient | undefined;
  let snapshot: string;

  beforeAll(async () => {
    cluster = await Cluster.create("restore", 7);
    await cluster.addBalancer(3);
    const first = await cluster.addServer(1, ["--cluster-init"]);
    const join = ["--server", `https://${first.address}:6443`];
    await Promise.all([cluster.addServer(2, join), cluster.addServer(3, join)]);
    await cluster.addAgent(1);
    before = await BackgroundClient.start(cluster.node("agent-1"), await cluster.adminCredentials());
    await before.acknowledgements(50);
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") await cluster.printLogs();
  });

  afterAll(async () => {
    await after?.remove();
    await cluster?.remove();
  });

  test("a snapshot is taken while the cluster is written to", async () => {
    const answer = await cluster
      .node("server-1")
      .exec("keelson", "etcd-snapshot", "save", "--node-name", "server-1", "--name", "disaster", "-o", "json");
    [{ name: snapshot }] = JSON.parse(answer.slice(answer.indexOf("["))) as [{ name: string }];
    expect(snapshot).toMatch(/^disaster-server-1-\d+$/);
  });

  test("one server restores it on an empty disk, the others join on empty ones, and agents come back by themselves", async () => {
    const agent = cluster.node("agent-1");
    const { startedAt } = await agent.state();
    const servers = ["server-1", "server-2", "server-3"].map((name) => cluster.node(name));
    await Promise.all(servers.map((server) => server.kill()));
    await before.remove();

    const [first, ...others] = servers;
    // What was copied elsewhere is all that is left.
    await cluster.runInPlaceOf(first!, ["mv"], [`${dataDir}/server/db/snapshots/${snapshot}`, copy]);
    await cluster.runInPlaceOf(first!, ["find"], [dataDir, "-mindepth", "1", "!", "-path", copy, "-delete"]);
    for (const server of others) {
      await cluster.runInPlaceOf(server, ["find"], [dataDir, "-mindepth", "1", "-delete"]);
    }
    await cluster.runInPlaceOf(
      first!,
      ["keelson"],
      ["etcd-snapshot", "restore", copy, "--node-name", "server-1", "--node-ip", first!.address],
    );
    await first!.start();
    await first!.whenHealthy();
    await Promise.all(others.map((server) => server.start()));

    after = await BackgroundClient.start(agent, await cluster.adminCredentials());
    await after.acknowledgements(50, 120_000);
    expect((await agent.state()).startedAt).toBe(startedAt);
    const tls = "/var/lib/keelson/server/tls/etcd";
    await expect
      .poll(
        () =>
          first!.exec(
            ...["etcdctl", "member", "list", `--cacert=${tls}/server-ca.crt`],
            ...[`--cert=${tls}/client.crt`, `--key=${tls}/client.key`],
          ),
        { timeout: 60_000, interval: 1_000 },
      )
      .toSatisfy((text: string) => text.split("\n").filter((line) => /, started, .*, false$/.test(line)).length === 3);
  });
});

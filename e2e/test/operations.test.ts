import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from "vitest";
import { Cluster, type Credentials } from "../src/cluster.ts";
import { kubectl } from "../src/kubectl.ts";
import type { Node } from "../src/node.ts";

const tls = "/var/lib/keelson/server/tls/etcd";
const snapshots = "/var/lib/keelson/server/db/snapshots";
/** Each server is a node too, as it is on a host of its own. */
const withNode = "--disable-agent=false";
const patience = { timeout: 60_000, interval: 500 };

/** The day-2 tasks of docs/operations.md, typed as they stand there, on three servers with embedded etcd. */
describe.skipIf(inject("noEngine") !== "")("what docs/operations.md tells an operator to type", () => {
  let cluster: Cluster;
  let credentials: Credentials;
  let server: Node;

  beforeAll(async () => {
    cluster = await Cluster.create("operations", 10);
    await cluster.addBalancer(4);
    server = await cluster.addServer(1, ["--cluster-init", withNode]);
    await Promise.all([addServer(2), addServer(3)]);
    await cluster.addAgent(1);
    credentials = await cluster.adminCredentials();
  });

  afterEach(async ({ task }) => {
    if (task.result?.state === "fail") await cluster.printLogs();
  });

  afterAll(async () => {
    await cluster?.remove();
  });

  const addServer = (index: number): Promise<Node> =>
    cluster.addServer(index, ["--server", `https://${cluster.balancerAddress}:6443`, withNode]);

  /** A command line in the shell of the first server's host. */
  const type = (line: string): Promise<string> => server.exec("bash", "-c", line);

  /** The names of etcd's members that vote, without the random end that Keelson gives each. */
  async function voters(): Promise<string[]> {
    const files = `--cacert=${tls}/server-ca.crt --cert=${tls}/client.crt --key=${tls}/client.key`;
    const lines = (await type(`etcdctl member list ${files}`)).trim().split("\n");
    const voting = lines
      .map((line) => line.split(", "))
      .filter((fields) => fields[1] === "started" && fields[5] === "false");
    return voting.map((fields) => fields[2]!.replace(/-[0-9a-f]{8}$/, "")).sort();
  }

  const nodes = (): Promise<string> => kubectl(cluster, credentials, "get", "nodes", "--output=name");

  test("snapshots are taken, listed, pruned and deleted", async () => {
    await type("keelson etcd-snapshot save --name before-upgrade");
    await type("sleep 1.1; keelson etcd-snapshot save --name before-upgrade");
    const listed = await type("keelson etcd-snapshot ls");
    const names = [...listed.matchAll(/before-upgrade-server-1-\d+/g)].map(([name]) => name);
    expect(new Set(names).size).toBe(2);
    await type("keelson etcd-snapshot prune --name before-upgrade --etcd-snapshot-retention 1");
    const [left] = (await type(`ls ${snapshots}`)).trim().split("\n");
    expect(names).toContain(left);
    await type(`keelson etcd-snapshot delete ${left}`);
    expect(await type("keelson etcd-snapshot ls")).not.toContain("before-upgrade");
  });

  test("a fourth server is added, and votes once it has caught up", async () => {
    await addServer(4);
    await expect.poll(voters, patience).toEqual(["server-1", "server-2", "server-3", "server-4"]);
    await expect.poll(nodes, patience).toContain("node/server-4\n");
  });

  test("a server's node is deleted, and with it its member", async () => {
    await cluster.node("server-4").kill();
    await kubectl(cluster, credentials, "delete", "node", "server-4");
    await expect.poll(voters, patience).toEqual(["server-1", "server-2", "server-3"]);
  });

  test("a server that was removed comes back as a new member", async () => {
    await cluster.node("server-4").start();
    await expect.poll(voters, patience).toEqual(["server-1", "server-2", "server-3", "server-4"]);
    expect(await cluster.node("server-4").exec("ls", "/var/lib/keelson/server/db")).toMatch(/etcd-backup-\d+/);
    await expect.poll(nodes, patience).toContain("node/server-4\n");
  });

  test("an annotation removes the member alone", async () => {
    await kubectl(cluster, credentials, "annotate", "node", "server-4", "etcd.k3s.cattle.io/remove=true");
    await expect.poll(voters, patience).toEqual(["server-1", "server-2", "server-3"]);
    // It says goodbye to who still comes there, so that everybody else is served by the others.
    const listens = (): Promise<boolean> =>
      cluster.node("server-4").succeeds("bash", "-c", ": < /dev/tcp/127.0.0.1/6443");
    await expect.poll(listens, patience).toBe(false);
    expect(await nodes()).toContain("node/server-4\n");
    await cluster.node("server-4").kill();
  });

  test("a name that is taken is released to a host that was installed anew", async () => {
    await cluster.node("agent-1").kill();
    const reinstalled = await cluster.addAgent(2, { nodeName: "agent-1", until: /node password rejected/ });
    expect(await type("keelson node list")).toMatch(/^agent-1 /m);
    await type("keelson node release agent-1");
    await expect.poll(() => reinstalled.logTail(), patience).toContain("node is registered and ready");
  });

  test("certificates are checked, and made anew", async () => {
    expect(await type("keelson certificate check")).toMatch(/client-admin\.crt/);
    const readCertificate = (): Promise<string> => type("cat /var/lib/keelson/server/tls/client-admin.crt");
    const before = await readCertificate();
    await type("keelson certificate rotate");
    await expect.poll(readCertificate, patience).not.toBe(before);
    await kubectl(cluster, credentials, "get", "nodes");
  });

  test("a token that expires lets agents join", async () => {
    const created = (await type("keelson token create --ttl 1h")).trim();
    expect(await type("keelson token list")).toContain(created.split("::")[1]!.split(".")[0]);
    await cluster.addAgent(3, { secret: created });
  });

  test("the server token is rotated: the new one joins, the old one does not", async () => {
    await type("keelson token rotate --new-token another-end-to-end-secret");
    await cluster.addAgent(4, { secret: "another-end-to-end-secret" });
    await cluster.addAgent(5, { until: /the server does not accept this token/ });
  });
});

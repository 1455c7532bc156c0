import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { createKubeApi, type KubeApi } from "@keelson/kube-api";
import { createKubeClient, type KubeClient, resources } from "@keelson/kube-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { parseDbInfo } from "../../src/etcd/db-info.ts";
import { createEmbeddedEtcd, type EmbeddedEtcd } from "../../src/etcd/embedded-etcd.ts";
import { memberFinalizer } from "../../src/etcd/node-marks.ts";
import { NodeMembers } from "../../src/etcd/node-members.ts";
import { hasProgram, TestCluster, type TestServer } from "./etcd-fixture.ts";

const fast = { heartbeatIntervalMs: 50, electionTimeoutMs: 500 };
const names = ["server-1", "server-2", "server-3"] as const;

describe.skipIf(!hasProgram("etcd"))("servers whose API lies in their own etcd", { timeout: 60_000 }, () => {
  let cluster: TestCluster;
  let api: KubeApi;
  let kube: KubeClient;
  const etcds: EmbeddedEtcd[] = [];
  const duties: NodeMembers[] = [];
  const removed: string[] = [];

  beforeAll(async () => {
    cluster = await TestCluster.create();
    const servers = await Promise.all(names.map((name) => cluster.server(name)));
    for (const server of servers) {
      const through = etcds[0];
      const origin =
        through === undefined
          ? { kind: "init" as const }
          : { kind: "join" as const, members: async () => parseDbInfo(await through.dbInfo()) };
      const onRemoved = () => removed.push(server.nodeName);
      const etcd = createEmbeddedEtcd({ ...server, ...fast, origin }, { onRemoved });
      etcds.push(etcd);
      await etcd.start();
    }
    const socketPath = join(servers[0]!.dataDir, "kube-api.sock");
    api = await startApi(servers[0]!, socketPath);
    kube = createKubeClient({ socketPath });
    for (const [index, { nodeName }] of servers.entries()) {
      await kube.create(resources.nodes, { apiVersion: "v1", kind: "Node", metadata: { name: nodeName } });
      duties.push(new NodeMembers({ nodeName, address: "127.0.0.1" }, etcds[index]!, kube));
    }
    await Promise.all(duties.map((duty) => duty.start()));
  }, 90_000);

  afterAll(async () => {
    await Promise.all(duties.map((duty) => duty.stop()));
    kube?.close();
    await api?.stop();
    await Promise.all(etcds.map((etcd) => etcd.stop()));
    await cluster.remove();
  });

  const memberNames = async (): Promise<string[]> =>
    (await etcds[0]!.memberList()).map(({ name }) => name.replace(/-[0-9a-f]{8}$/, "")).sort();

  test("each names its member on its own node, and the leader holds the node", async () => {
    for (const [index, name] of names.entries()) {
      await expect
        .poll(async () => (await kube.get(resources.nodes, name)).metadata, { timeout: 20_000 })
        .toMatchObject({
          annotations: { "etcd.k3s.cattle.io/node-name": etcds[index]!.memberName },
          finalizers: [memberFinalizer],
        });
    }
  });

  test("a node that is asked to leave etcd loses its member and stays a node", async () => {
    const leave = { metadata: { annotations: { "etcd.k3s.cattle.io/remove": "true" } } };
    await kube.patch(resources.nodes, "server-3", leave, { type: "merge" });
    await expect.poll(memberNames, { timeout: 20_000 }).toEqual(["server-1", "server-2"]);
    await expect.poll(() => removed, { timeout: 20_000 }).toContain("server-3");
    expect((await kube.get(resources.nodes, "server-3")).metadata.deletionTimestamp).toBeUndefined();
  });

  test("a node that is deleted loses its member before it goes", async () => {
    await kube.delete(resources.nodes, "server-2");
    await expect.poll(memberNames, { timeout: 20_000 }).toEqual(["server-1"]);
    const nodes = async () => (await kube.list(resources.nodes)).items.map(({ metadata }) => metadata.name);
    await expect.poll(nodes, { timeout: 20_000 }).toEqual(["server-1", "server-3"]);
  });
});

async function startApi({ dataDir, clientPort }: TestServer, socketPath: string): Promise<KubeApi> {
  const read = (file: string): Promise<string> => readFile(join(dataDir, "server/tls/etcd", file), "utf8");
  const [ca, cert, key] = await Promise.all([read("server-ca.crt"), read("client.crt"), read("client.key")]);
  const api = createKubeApi({
    etcd: { endpoints: [`https://127.0.0.1:${clientPort}`], tls: { ca, cert, key } },
    listen: [{ socketPath }],
    clientCaPem: ca,
    requestHeaderCaPem: ca,
    serviceCidr: "10.43.0.0/16",
  });
  await api.start();
  return api;
}

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "@keelson/conformance";
import { createKubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { withDefaults } from "@keelson/service";
import { expect, it, onTestFinished } from "vitest";
import { readClusterAccess } from "../src/cluster/kubeconfig.ts";
import { Server } from "../src/server/compose.ts";
import { configOf } from "./given.ts";

interface Node extends KubeObject {
  spec?: { taints?: { key: string; value?: string; effect: string }[] };
}

it("a server is a node of its cluster with the user's labels and taints, and with its role, which it cannot give itself", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-node-"));
  const flags = {
    "data-dir": dataDir,
    "https-listen-port": String(await freePort()),
    "lb-server-port": String(await freePort()),
    "bind-address": "127.0.0.1",
    "node-name": "server-1",
    "node-ip": "127.0.0.1",
    "node-label": "zone=a",
    "node-taint": "CriticalAddonsOnly=true:NoExecute",
    "node-password-file": join(dataDir, "password"),
    "datastore-listen-address": "",
  };
  const config = await configOf(flags);
  const server = new Server(config, withDefaults(), () => {});
  onTestFinished(async () => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await server.start();
  const client = createKubeClient(await readClusterAccess(config.kubeconfig.path, dataDir));
  onTestFinished(() => client.close());
  const node = (): Promise<Node | undefined> => client.get<Node>(resources.nodes, "server-1").catch(() => undefined);
  await expect
    .poll(async () => (await node())?.metadata.labels)
    .toMatchObject({ zone: "a", "node-role.kubernetes.io/control-plane": "true" });
  expect((await node())?.spec?.taints).toEqual([
    { key: "CriticalAddonsOnly", value: "true", effect: "NoExecute" },
    { key: "keelson.io/no-kubelet", effect: "NoSchedule" },
  ]);
  // What agents may do is said in the cluster itself, where a kube-apiserver finds it.
  expect(await client.get(resources.clusterRoleBindings, "system:k3s-controller")).toMatchObject({
    roleRef: { name: "system:k3s-controller" },
    subjects: [{ kind: "User", name: "system:k3s-controller" }],
  });
});

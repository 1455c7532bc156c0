import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Backend, backends, freePorts, lacks, requireBinary, startBackend, startEtcd } from "@keelson/conformance";
import { createKubeClient, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { withDefaults } from "@keelson/service";
import { describe, expect, it, onTestFinished } from "vitest";
import { readClusterAccess } from "../src/cluster/kubeconfig.ts";
import { Server } from "../src/server/compose.ts";
import { configOf } from "./given.ts";

const deployments = { group: "apps", version: "v1", resource: "deployments" };
const replicaSets = { group: "apps", version: "v1", resource: "replicasets" };

/** A server with the real kube-apiserver, controller-manager and scheduler, on a datastore that nobody has used yet. */
async function startServer(datastoreEndpoint: string): Promise<{ server: Server; kube: KubeClient }> {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-upstream-"));
  const [https, upstream, controllerManager, scheduler] = await freePorts(4);
  const config = await configOf({
    "data-dir": dataDir,
    "bind-address": "127.0.0.1",
    "https-listen-port": String(https),
    "node-name": "server-1",
    // kube-apiserver takes no loopback address for an endpoint; nobody dials this one here.
    "node-ip": "192.0.2.1",
    "disable-agent": "true",
    token: "a-secret",
    "datastore-endpoint": datastoreEndpoint,
    "datastore-listen-address": "",
    "kube-apiserver-port": String(upstream),
    "kube-apiserver-path": requireBinary("kube-apiserver"),
    "kube-controller-manager-path": requireBinary("kube-controller-manager"),
    "kube-controller-manager-arg": `secure-port=${controllerManager}`,
    "kube-scheduler-path": requireBinary("kube-scheduler"),
    "kube-scheduler-arg": `secure-port=${scheduler}`,
  });
  const server = new Server(config, withDefaults(), () => {});
  onTestFinished(async () => {
    await server.stop();
    await rm(dataDir, { recursive: true, force: true });
  });
  await server.start();
  const kube = createKubeClient(await readClusterAccess(config.kubeconfig.path, dataDir));
  onTestFinished(() => kube.close());
  return { server, kube };
}

async function datastore(name: Backend | "etcd"): Promise<string> {
  const started = await (name === "etcd" ? startEtcd() : startBackend(name));
  onTestFinished(() => started.close());
  return "url" in started ? started.url : started.freshEndpoint();
}

describe.skipIf(lacks("kube-apiserver", "kube-controller-manager", "kube-scheduler"))("a real kube-apiserver", () => {
  it.each([...backends, "etcd"] as const)(
    "and its controllers work on %s, behind the gateway",
    async (name) => {
      const { kube } = await startServer(await datastore(name));
      expect(await kube.raw("GET", "/readyz")).toBe("ok");

      const labels = { app: "web" };
      const template = { metadata: { labels }, spec: { containers: [{ name: "web", image: "web" }] } };
      const spec = { replicas: 3, selector: { matchLabels: labels }, template };
      await kube.create(deployments, { metadata: { name: "web", namespace: "default" }, spec } as KubeObject);
      const pods = async (): Promise<KubeObject[]> => (await kube.list(resources.pods, { namespace: "default" })).items;
      await expect.poll(async () => (await pods()).length, { timeout: 30_000 }).toBe(3);
      const scheduled = async (): Promise<string[]> =>
        (await kube.list<KubeObject & { reason: string }>(resources.events, { namespace: "default" })).items.map(
          ({ reason }) => reason,
        );
      // There is no node: the scheduler says so.
      await expect.poll(scheduled, { timeout: 30_000 }).toContain("FailedScheduling");

      await kube.delete(deployments, "web", { namespace: "default" });
      await expect.poll(async () => (await pods()).length, { timeout: 30_000 }).toBe(0);
      expect((await kube.list(replicaSets, { namespace: "default" })).items).toEqual([]);

      const endpoints = await kube.get<KubeObject & { subsets: unknown[] }>(
        resources.endpoints,
        "kubernetes",
        "default",
      );
      expect(endpoints.subsets).toMatchObject([{ addresses: [{ ip: "192.0.2.1" }] }]);
    },
    120_000,
  );
});

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { freePort, lacks, startEtcd } from "@keelson/conformance";
import { createKubeClient } from "@keelson/kube-client";
import { createRegistry, withDefaults } from "@keelson/service";
import { expect, it, onTestFinished } from "vitest";
import { parse } from "yaml";
import { readClusterAccess } from "../src/cluster/kubeconfig.ts";
import { Server } from "../src/server/compose.ts";
import { configOf } from "./given.ts";

/** The metrics that the rules speak of; `up` is Prometheus's own. */
function metricsInRules(): string[] {
  const file = resolve(import.meta.dirname, "../../../deploy/prometheus/rules.yml");
  const { groups } = parse(readFileSync(file, "utf8")) as { groups: { rules: { expr: string }[] }[] };
  const words = groups.flatMap(({ rules }) => rules.flatMap(({ expr }) => expr.match(/[a-z]+_[a-z_]+/g) ?? []));
  return [...new Set(words)]
    .filter((word) => /^(etcd|keelson)_/.test(word))
    .map((word) => word.replace(/_bucket$/, ""));
}

it.skipIf(lacks("etcd"))("alerts go by metrics that a server or its etcd has", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-metrics-"));
  const flags = {
    "data-dir": dataDir,
    "https-listen-port": String(await freePort()),
    "bind-address": "127.0.0.1",
    "node-name": "server-1",
    "node-ip": "127.0.0.1",
    "disable-agent": "true",
    "datastore-listen-address": "",
  };
  const config = await configOf(flags);
  const server = new Server(config, withDefaults({ registry: createRegistry() }), () => {});
  const etcd = await startEtcd();
  onTestFinished(async () => {
    await server.stop();
    await etcd.close();
    await rm(dataDir, { recursive: true, force: true });
  });
  await server.start();
  const client = createKubeClient(await readClusterAccess(config.kubeconfig.path, dataDir));
  onTestFinished(() => client.close());
  const served = await client.raw<string>("GET", "/metrics");
  const ofEtcd = await (await fetch(`${etcd.url}/metrics`)).text();
  const isServed = (name: string): boolean => [served, ofEtcd].some((text) => text.includes(`\n# TYPE ${name} `));
  // Only gateways that share tunnels have a directory of them.
  const missing = metricsInRules().filter((name) => !isServed(name) && name !== "keelson_tunnel_directory_up");
  expect(missing).toEqual([]);
  expect(metricsInRules().length).toBeGreaterThan(5);
});

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKubeClient } from "@keelson/kube-client";
import { ManualClock, silentLogger } from "@keelson/service";
import { expect, onTestFinished, test } from "vitest";
import { KubeletPort } from "../src/kubelet/kubelet-port.ts";

const startMs = Date.parse("2026-03-04T05:06:07.500Z");

let version = 0;

function node(port: number, status: string, lastHeartbeatTime: string) {
  return {
    metadata: { name: "node-a", resourceVersion: String(++version) },
    status: {
      conditions: [{ type: "Ready", status, lastHeartbeatTime }],
      daemonEndpoints: { kubeletEndpoint: { Port: port } },
    },
  };
}

test("the kubelet's port is what the Node says, once a kubelet of today has reported itself ready", async () => {
  let watch: ServerResponse | undefined;
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(req.url ?? "");
    res.setHeader("content-type", "application/json");
    if (req.url?.includes("watch=")) {
      watch = res;
      return res.flushHeaders();
    }
    const items = [node(10_260, "True", "2026-03-04T05:06:06Z")];
    res.end(JSON.stringify({ kind: "NodeList", metadata: { resourceVersion: "1" }, items }));
  });
  const folder = await mkdtemp(join(tmpdir(), "keelson-port-"));
  const socketPath = join(folder, "api.sock");
  server.listen(socketPath);
  await once(server, "listening");
  const client = createKubeClient({ socketPath });
  const clock = new ManualClock(startMs);
  const port = new KubeletPort(client, "node-a", 10_255, { clock, log: silentLogger });
  onTestFinished(async () => {
    await port.stop();
    client.close();
    server.closeAllConnections();
    server.close();
    await rm(folder, { recursive: true });
  });
  expect(port.current).toBe(10_255);
  await port.start();
  await expect.poll(() => watch).toBeDefined();
  expect(asked[0]).toContain("fieldSelector=metadata.name%3Dnode-a");
  expect(port.current).toBe(10_255); // the heartbeat is older than this agent

  const tell = (object: object) => watch?.write(`${JSON.stringify({ type: "MODIFIED", object })}\n`);
  tell(node(10_270, "True", "2026-03-04T05:06:07Z"));
  await expect.poll(() => port.current).toBe(10_270);
  tell(node(10_280, "False", "2026-03-04T05:06:17Z"));
  await expect.poll(() => port.current).toBe(10_255);
});

import { once } from "node:events";
import { request as httpsRequest } from "node:https";
import { connect } from "node:tls";
import { ManualClock } from "@keelson/service";
import { expect, test } from "vitest";
import { WebSocket } from "ws";
import { createFakeRegistration } from "./support/fake-registration.ts";
import { startHarness } from "./support/harness.ts";

test("the operators' listener shows health and metrics, and says what is wrong", async () => {
  await using harness = await startHarness({ config: { ops: { host: "127.0.0.1", port: 0 } } });
  const ops = `http://127.0.0.1:${harness.gateway.opsAddress?.port}`;
  expect(await (await fetch(`${ops}/readyz`)).text()).toBe("ok");
  await harness.call("/ping");
  const metrics = await (await fetch(`${ops}/metrics`)).text();
  expect(metrics).toContain('keelson_gateway_requests_total{route="ping",code="200"} 1');
  expect(metrics).toMatch(/keelson_gateway_listener_certificate_expiry_seconds \d{10}/);
  harness.kubeApi.closeAllConnections();
  harness.kubeApi.close();
  const failed = await fetch(`${ops}/readyz`);
  expect(failed.status).toBe(500);
  expect(await failed.text()).toMatch(/\[-\]kube-api failed: .*\n\[\+\]registration ok/);
  expect((await fetch(`${ops}/livez`)).status).toBe(200);
  expect((await fetch(`${ops}/api`)).status).toBe(404);
});

test("the listener certificate is renewed under a running watch and a running tunnel without either noticing", async () => {
  let emit: (text: string) => void = () => {};
  const clock = new ManualClock(Date.now());
  const registration = await createFakeRegistration();
  registration.renewAfterMs = 40_000;
  await using harness = await startHarness({
    registration,
    deps: { clock },
    kubeApi: (_req, res) => {
      res.writeHead(200).flushHeaders();
      emit = (text) => res.write(text);
    },
  });
  const { port } = harness;
  const tls = { host: "127.0.0.1", port, ca: registration.serverCa.bundlePem };
  const node = await registration.client("system:node:agent1", ["system:nodes"]);
  const tunnel = new WebSocket(`wss://127.0.0.1:${port}/v1-k3s/connect`, { ca: tls.ca, ...node });
  await once(tunnel, "open");
  const watch = httpsRequest({ ...tls, ...node, path: "/api/v1/pods?watch=true", agent: false });
  watch.end();
  const [answer] = await once(watch, "response");
  const before = await serialOf(tls);

  clock.advance(39_000);
  expect(await serialOf(tls)).toBe(before);
  tunnel.ping();
  await once(tunnel, "pong");
  clock.advance(2_000);
  await expect.poll(() => serialOf(tls)).not.toBe(before);

  emit("event");
  expect(String((await once(answer, "data"))[0])).toBe("event");
  tunnel.ping();
  await once(tunnel, "pong");
  expect(harness.gateway.tunnel.sessions().length).toBe(1);
  tunnel.terminate();
  watch.destroy();
});

async function serialOf(tls: { host: string; port: number; ca: string }): Promise<string> {
  const socket = connect(tls);
  await once(socket, "secureConnect");
  const serial = socket.getPeerX509Certificate()!.serialNumber;
  socket.destroy();
  return serial;
}

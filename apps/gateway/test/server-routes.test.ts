import { accepted, refused } from "@keelson/protocol/supervisor";
import { expect, test } from "vitest";
import { serverPassword } from "./support/fake-registration.ts";
import { startHarness } from "./support/harness.ts";

const basic = `server:${serverPassword}`;

test("a server's leaves are shown, and renewed one by one, the public port's among them", async () => {
  await using harness = await startHarness();
  const status = await harness.call("/v1-k3s/cert/status", { basic });
  expect(JSON.parse(status.body)).toEqual([expect.objectContaining({ name: "client-admin" })]);
  expect((await harness.call("/v1-k3s/cert/client-admin", { basic, method: "PUT" })).status).toBe(204);
  expect((await harness.call("/v1-k3s/cert/nobody", { basic, method: "PUT" })).status).toBe(404);
  expect((await harness.call("/v1-k3s/cert/client-admin", { basic })).status).toBe(405);
  const signed = harness.registration.listenerRequests.length;
  expect((await harness.call("/v1-k3s/cert/dynamic-listener", { basic, method: "PUT" })).status).toBe(204);
  expect(harness.registration.listenerRequests.length).toBe(signed + 1);
});

test("secrets encryption is off, and says so as stock does", async () => {
  await using harness = await startHarness();
  const status = await harness.call("/v1-k3s/encrypt/status", { basic });
  expect(JSON.parse(status.body)).toEqual({ stage: "", activekey: "", inactivekeys: null });
  const body = '{"stage":"rotate-keys"}';
  const config = await harness.call("/v1-k3s/encrypt/config", { basic, method: "PUT", body });
  expect(config.status).toBe(400);
  expect(JSON.parse(config.body)).toMatchObject({ kind: "Status", reason: "BadRequest" });
});

test("a snapshot request goes to etcd, where there is one", async () => {
  const asked: string[] = [];
  const dbSnapshot = async (json: string) => {
    asked.push(json);
    return json.includes("save")
      ? accepted('{"created":["a"]}')
      : refused<string>(400, "snapshot/operation", "unknown");
  };
  await using harness = await startHarness({ config: { dbSnapshot } });
  const call = (body: string) => harness.call("/db/snapshot", { basic, method: "POST", body });
  expect(await call('{"operation":"save"}')).toMatchObject({ status: 200, body: '{"created":["a"]}' });
  expect((await call("{}")).status).toBe(400);
  expect((await call("x".repeat(100_000))).status).toBe(413);
  expect(asked).toHaveLength(2);
  await using without = await startHarness();
  const refusal = await without.call("/db/snapshot", { basic, method: "POST", body: "{}" });
  expect(refusal.status).toBe(400);
  expect(refusal.body).toContain("etcd disabled");
});

import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

describe.skipIf(lacks("etcd"))("when the datastore is away", { timeout: 30_000 }, () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  it("answers at once that it is, stays up, and goes on by itself with its watches", async () => {
    const path = "/api/v1/namespaces/default/configmaps";
    const { metadata } = (await api.call("POST", path, { body: { metadata: { name: "before" } } })).json;
    const watch = new WatchReader(await api.open(`${path}?watch=true&resourceVersion=${metadata.resourceVersion}`));
    await api.etcd.process.stop();

    const startedAt = performance.now();
    const refused = await api.call("POST", path, { body: { metadata: { name: "during" } } });
    expect(refused.json).toMatchObject({ kind: "Status", code: 503, reason: "ServiceUnavailable" });
    expect(refused.headers["retry-after"]).toBe("1");
    expect((await api.call("GET", `${path}/before`)).status).toBe(503);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    const ready = await api.call("GET", "/readyz");
    expect([ready.status, ready.bytes.toString()]).toEqual([500, expect.stringContaining("[-]etcd failed")]);
    expect((await api.call("GET", "/livez")).status).toBe(200);

    await api.etcd.process.start();
    await expect.poll(async () => (await api.call("GET", "/readyz")).status, { timeout: 10_000 }).toBe(200);
    expect((await api.call("POST", path, { body: { metadata: { name: "after" } } })).status).toBe(201);
    expect(await watch.next()).toMatchObject({ type: "ADDED", object: { metadata: { name: "after" } } });
    watch.close();
  });
});

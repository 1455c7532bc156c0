import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { startAdapter } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KindCatalog } from "../src/kinds/catalog.ts";
import { type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

const recordedDatabase = fileURLToPath(new URL("../../../conformance/vectors/kine-state.db", import.meta.url));

/** The database that a stock k3s v1.21 server left behind: protobuf values, older API versions. */
describe("the database of a stock k3s server", () => {
  let api: RunningApi;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-existing-"));
    const path = join(directory, "state.db");
    await copyFile(recordedDatabase, path);
    const adapter = await startAdapter(`sqlite://${path}`);
    api = await startApi({}, { ...adapter, close: () => adapter.process.stop().then(() => undefined) });
  });
  afterAll(async () => {
    await api?.close();
    await rm(directory, { recursive: true, force: true });
  });

  it("is served as it is, every kind", async () => {
    const counts: Record<string, number> = {};
    for (const { group, versions, plural } of new KindCatalog().all) {
      for (const version of versions) {
        const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
        const { status, json } = await api.call("GET", `${root}/${plural}`);
        expect(status, `${root}/${plural}: ${json.message}`).toBe(200);
        counts[plural] = json.items.length;
      }
    }
    expect(counts).toMatchObject({ clusterroles: expect.any(Number), services: 2 });
    expect(counts.clusterroles).toBeGreaterThan(50);
    const { json } = await api.call("GET", "/api/v1/namespaces/default/services/kubernetes");
    expect(json.spec).toMatchObject({
      clusterIP: "10.43.0.1",
      type: "ClusterIP",
      ports: [{ name: "https", port: 443 }],
    });
  });

  it("can be changed: an object is JSON from then on, and watchers see no seam", async () => {
    const path = "/api/v1/namespaces/kube-system";
    const { json: before } = await api.call("GET", path);
    const from = (await api.call("GET", "/api/v1/namespaces")).json.metadata.resourceVersion;
    const watch = new WatchReader(await api.open(`/api/v1/namespaces?watch=true&resourceVersion=${from}`));
    const patched = await api.call("PATCH", path, {
      body: { metadata: { labels: { seen: "yes" } } },
      headers: { "content-type": "application/merge-patch+json" },
    });
    expect(patched.json.metadata).toMatchObject({ uid: before.metadata.uid, labels: { seen: "yes" } });
    const event = await watch.next();
    expect(event).toMatchObject({ type: "MODIFIED", object: { metadata: { labels: { seen: "yes" } } } });
    watch.close();
  });
});

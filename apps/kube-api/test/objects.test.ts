import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeIdentity, type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

const configMaps = "/api/v1/namespaces/default/configmaps";
const configMap = (name: string, data: Record<string, string> = {}, labels: Record<string, string> = {}) => ({
  apiVersion: "v1",
  kind: "ConfigMap",
  metadata: { name, labels },
  data,
});
const patchType = (type: string) => ({ "content-type": `application/${type}` });

describe.skipIf(lacks("etcd"))("objects", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  it("has the namespaces, the service and the endpoints that every cluster has", async () => {
    const { json } = await api.call("GET", "/api/v1/namespaces");
    const names = json.items.map((item: { metadata: { name: string } }) => item.metadata.name);
    expect(names).toEqual(["default", "kube-node-lease", "kube-public", "kube-system"]);
    const endpoints = await api.call("GET", "/api/v1/namespaces/default/endpoints/kubernetes");
    expect(endpoints.json.subsets).toEqual([
      { addresses: [{ ip: "192.0.2.1" }], ports: [{ name: "https", port: 6443, protocol: "TCP" }] },
    ]);
    const service = await api.call("GET", "/api/v1/namespaces/default/services/kubernetes");
    expect(service.json.spec.clusterIP).toBe("10.43.0.1");
  });

  it("creates, reads, updates and deletes with resource versions", async () => {
    const created = await api.call("POST", configMaps, { body: configMap("crud", { a: "1" }) });
    expect(created.status).toBe(201);
    expect(created.json.metadata).toMatchObject({ name: "crud", namespace: "default", uid: expect.any(String) });
    const again = await api.call("POST", configMaps, { body: configMap("crud") });
    expect(again.json).toMatchObject({
      code: 409,
      reason: "AlreadyExists",
      message: 'configmaps "crud" already exists',
    });

    const body = { ...created.json, data: { a: "2" } };
    const updated = await api.call("PUT", `${configMaps}/crud`, { body });
    expect(updated.json.data).toEqual({ a: "2" });
    const stale = await api.call("PUT", `${configMaps}/crud`, { body });
    expect(stale.json).toMatchObject({ code: 409, reason: "Conflict" });
    const same = await api.call("PUT", `${configMaps}/crud`, { body: updated.json });
    expect(same.json.metadata.resourceVersion).toBe(updated.json.metadata.resourceVersion);

    const wrongUid = { preconditions: { uid: "another" } };
    expect((await api.call("DELETE", `${configMaps}/crud`, { body: wrongUid })).status).toBe(409);
    const deleted = await api.call("DELETE", `${configMaps}/crud`);
    expect(deleted.json).toMatchObject({ kind: "Status", status: "Success", details: { name: "crud" } });
    expect((await api.call("GET", `${configMaps}/crud`)).json).toMatchObject({
      kind: "Status",
      code: 404,
      reason: "NotFound",
      details: { name: "crud", kind: "configmaps" },
    });
  });

  it("stores objects as JSON under kube-apiserver's keys", async () => {
    await api.call("POST", configMaps, { body: configMap("stored", { a: "1" }) });
    const response = await fetch(`${api.etcd.url}/v3/kv/range`, {
      method: "POST",
      body: JSON.stringify({ key: Buffer.from("/registry/configmaps/default/stored").toString("base64") }),
    });
    const { kvs } = (await response.json()) as { kvs: { value: string }[] };
    const stored = JSON.parse(Buffer.from(kvs[0]!.value, "base64").toString());
    expect(stored).toMatchObject({ apiVersion: "v1", kind: "ConfigMap", data: { a: "1" } });
    expect(stored.metadata.resourceVersion).toBeUndefined();
  });

  it("makes names, refuses bad ones and tells what is wrong", async () => {
    const made = await api.call("POST", configMaps, { body: { metadata: { generateName: "gen-" } } });
    expect(made.json.metadata.name).toMatch(/^gen-[a-z0-9]{5}$/);
    const bad = await api.call("POST", configMaps, { body: configMap("Bad_Name") });
    expect(bad.json).toMatchObject({ code: 422, reason: "Invalid", details: { causes: [{ field: "metadata.name" }] } });
    const elsewhere = await api.call("POST", "/api/v1/namespaces/nowhere/configmaps", { body: configMap("a") });
    expect(elsewhere.json).toMatchObject({ code: 404, message: 'namespaces "nowhere" not found' });
    const broken = await api.call("POST", configMaps, { body: Buffer.from("{") });
    expect(broken.json).toMatchObject({ code: 400, reason: "BadRequest" });
    const type = await api.call("POST", configMaps, {
      body: Buffer.from("a"),
      headers: { "content-type": "text/html" },
    });
    expect(type.status).toBe(415);
    const huge = await api.call("POST", configMaps, { body: configMap("huge", { a: "x".repeat(3_200_000) }) });
    expect(huge.json).toMatchObject({ code: 413 });
  });

  it("does nothing on a dry run", async () => {
    const { status, json } = await api.call("POST", `${configMaps}?dryRun=All`, { body: configMap("dry") });
    expect([status, json.metadata.uid]).toEqual([201, expect.any(String)]);
    expect((await api.call("GET", `${configMaps}/dry`)).status).toBe(404);
  });

  it("patches in three ways", async () => {
    await api.call("POST", configMaps, { body: configMap("patched", { a: "1", b: "2" }) });
    const merge = await api.call("PATCH", `${configMaps}/patched`, {
      body: { data: { a: null, c: "3" } },
      headers: patchType("merge-patch+json"),
    });
    expect(merge.json.data).toEqual({ b: "2", c: "3" });
    const json = await api.call("PATCH", `${configMaps}/patched`, {
      body: [{ op: "replace", path: "/data/b", value: "4" }],
      headers: patchType("json-patch+json"),
    });
    expect(json.json.data).toEqual({ b: "4", c: "3" });
    const pods = "/api/v1/namespaces/default/pods";
    const container = (name: string, image: string) => ({ name, image });
    await api.call("POST", pods, {
      body: { metadata: { name: "p" }, spec: { containers: [container("a", "x:1"), container("b", "y:1")] } },
    });
    const strategic = await api.call("PATCH", `${pods}/p`, {
      body: { spec: { containers: [container("b", "y:2")] } },
      headers: patchType("strategic-merge-patch+json"),
    });
    expect(strategic.json.spec.containers.map((each: { image: string }) => each.image)).toEqual(["x:1", "y:2"]);
  });

  it("selects by label and field, and pages with one revision", async () => {
    for (const name of ["s1", "s2", "s3"]) {
      await api.call("POST", configMaps, { body: configMap(name, {}, { app: "sel", n: name }) });
    }
    const names = async (query: string): Promise<string[]> =>
      (await api.call("GET", `${configMaps}?${query}`)).json.items.map(
        (item: { metadata: { name: string } }) => item.metadata.name,
      );
    expect(await names("labelSelector=app%3Dsel,n!%3Ds2")).toEqual(["s1", "s3"]);
    expect(await names("labelSelector=n+in+(s1,s2)")).toEqual(["s1", "s2"]);
    expect(await names("fieldSelector=metadata.name%3Ds2")).toEqual(["s2"]);
    expect((await api.call("GET", `${configMaps}?fieldSelector=data.a%3D1`)).status).toBe(400);

    const first = (await api.call("GET", `${configMaps}?labelSelector=app%3Dsel&limit=2`)).json;
    await api.call("DELETE", `${configMaps}/s3`);
    const rest = (
      await api.call("GET", `${configMaps}?labelSelector=app%3Dsel&limit=2&continue=${first.metadata.continue}`)
    ).json;
    expect(first.items.length + rest.items.length).toBe(3);
    expect(rest.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
  });

  it("marks an object with finalizers and removes it when the last one goes", async () => {
    const body = { metadata: { name: "held", finalizers: ["example.com/hold"] } };
    await api.call("POST", configMaps, { body });
    const marked = await api.call("DELETE", `${configMaps}/held`);
    expect(marked.json.metadata.deletionTimestamp).toEqual(expect.any(String));
    await api.call("PATCH", `${configMaps}/held`, {
      body: { metadata: { finalizers: null } },
      headers: patchType("merge-patch+json"),
    });
    expect((await api.call("GET", `${configMaps}/held`)).status).toBe(404);
  });

  it("keeps spec and status apart and counts generations", async () => {
    const deployments = "/apis/apps/v1/namespaces/default/deployments";
    const spec = { replicas: 1, selector: { matchLabels: { a: "b" } }, template: { spec: { containers: [] } } };
    const created = await api.call("POST", deployments, { body: { metadata: { name: "d" }, spec } });
    expect(created.json.metadata.generation).toBe(1);
    const status = await api.call("PATCH", `${deployments}/d/status`, {
      body: { status: { readyReplicas: 1 }, spec: { replicas: 9 } },
      headers: patchType("merge-patch+json"),
    });
    expect([status.json.status.readyReplicas, status.json.spec.replicas, status.json.metadata.generation]).toEqual([
      1, 1, 1,
    ]);
    const scaled = await api.call("PATCH", `${deployments}/d`, {
      body: { spec: { replicas: 2 }, status: { readyReplicas: 7 } },
      headers: patchType("merge-patch+json"),
    });
    expect([scaled.json.metadata.generation, scaled.json.status.readyReplicas]).toEqual([2, 1]);
  });

  it("takes no status from who creates an object, but from a node's kubelet", async () => {
    const pod = { metadata: { name: "claims" }, spec: { containers: [{ name: "c", image: "x" }] } };
    const status = { phase: "Succeeded", podIP: "192.0.2.9" };
    const created = await api.call("POST", "/api/v1/namespaces/default/pods", { body: { ...pod, status } });
    expect([created.json.status.phase, created.json.status.podIP]).toEqual(["Pending", undefined]);
    const addresses = [{ type: "InternalIP", address: "192.0.2.9" }];
    const node = await api.call("POST", "/api/v1/nodes", {
      body: { metadata: { name: "own" }, status: { addresses } },
    });
    expect(node.json.status.addresses).toEqual(addresses);
  });

  it("writes into a certificate request who asks, whatever it says, and keeps it", async () => {
    const requests = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
    const asked = { request: "YQ==", signerName: "example.com/s", usages: ["client auth"] };
    const spec = { ...asked, username: "system:admin", groups: ["system:masters"], uid: "1", extra: { a: ["b"] } };
    const status = { certificate: "YQ==", conditions: [{ type: "Approved", status: "True" }] };
    const body = { metadata: { name: "mine" }, spec, status };
    const created = (await api.call("POST", requests, { body, as: nodeIdentity("n9") })).json;
    const kept = { ...asked, username: "system:node:n9", groups: ["system:nodes", "system:authenticated"] };
    expect([created.spec, created.status]).toEqual([kept, undefined]);
    const updated = await api.call("PUT", `${requests}/mine`, { body: { ...created, spec } });
    expect([updated.status, updated.json.spec]).toEqual([200, kept]);
  });

  it("gives services addresses and refuses a taken one", async () => {
    const services = "/api/v1/namespaces/default/services";
    const service = (name: string, spec: object) => ({ metadata: { name }, spec: { ports: [{ port: 80 }], ...spec } });
    const { json } = await api.call("POST", services, { body: service("a", {}) });
    expect(json.spec.clusterIP).toMatch(/^10\.43\./);
    const taken = await api.call("POST", services, { body: service("b", { clusterIP: json.spec.clusterIP }) });
    expect(taken.json).toMatchObject({ code: 422, reason: "Invalid" });
    const headless = await api.call("POST", services, { body: service("c", { clusterIP: "None" }) });
    expect(headless.json.spec.clusterIPs).toEqual(["None"]);
  });

  it("shows one event under both groups", async () => {
    const body = {
      metadata: { name: "e.1" },
      involvedObject: { kind: "Pod", name: "p", namespace: "default" },
      reason: "Started",
      message: "it runs",
      type: "Normal",
    };
    await api.call("POST", "/api/v1/namespaces/default/events", { body });
    const { json } = await api.call("GET", "/apis/events.k8s.io/v1/namespaces/default/events/e.1");
    expect(json).toMatchObject({ apiVersion: "events.k8s.io/v1", note: "it runs", regarding: { name: "p" } });
    await api.call("POST", "/apis/events.k8s.io/v1/namespaces/default/events", {
      body: {
        metadata: { name: "e.2" },
        regarding: { kind: "Node", name: "n" },
        note: "hm",
        reason: "R",
        type: "Warning",
      },
    });
    const core = await api.call("GET", "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dn");
    expect(core.json.items[0]).toMatchObject({ message: "hm", metadata: { name: "e.2" } });
  });

  it("deletes a namespace with all that is in it", async () => {
    await api.call("POST", "/api/v1/namespaces", { body: { metadata: { name: "gone" } } });
    await api.call("POST", "/api/v1/namespaces/gone/configmaps", { body: configMap("inside") });
    const { headers } = await api.open("/api/v1/namespaces?limit=1");
    expect(headers["content-type"]).toBe("application/json");
    const from = (await api.call("GET", "/api/v1/namespaces")).json.metadata.resourceVersion;
    const watch = new WatchReader(await api.open(`/api/v1/namespaces?watch=true&resourceVersion=${from}`));
    expect((await api.call("DELETE", "/api/v1/namespaces/gone")).json.status.phase).toBe("Terminating");
    for (;;) {
      const event = await watch.next();
      if (event.type === "DELETED") break;
    }
    watch.close();
    expect((await api.call("GET", "/api/v1/namespaces/gone/configmaps/inside")).status).toBe(404);
  });

  it("deletes what belonged to an owner", async () => {
    const owner = (await api.call("POST", configMaps, { body: configMap("owner") })).json;
    const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name: "owner", uid: owner.metadata.uid }];
    const created = await api.call("POST", configMaps, { body: { metadata: { name: "owned", ownerReferences } } });
    const from = created.json.metadata.resourceVersion;
    const watch = new WatchReader(
      await api.open(`${configMaps}?watch=true&fieldSelector=metadata.name%3Downed&resourceVersion=${from}`),
    );
    await api.call("DELETE", `${configMaps}/owner`);
    expect(await watch.next()).toMatchObject({ type: "DELETED", object: { metadata: { name: "owned" } } });
    watch.close();
  });
});

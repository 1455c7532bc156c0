import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningApi, startApi } from "./support/running-api.ts";

const merge = { "content-type": "application/merge-patch+json" };
const pods = "/api/v1/namespaces/default/pods";
const apps = "/apis/apps/v1/namespaces/default";
const rbac = "/apis/rbac.authorization.k8s.io/v1";
const container = { name: "c", image: "x:1" };
const toleration = { key: "a", operator: "Exists" };
const workload = {
  replicas: 1,
  selector: { matchLabels: { a: "b" } },
  template: { metadata: { labels: { a: "b" } }, spec: { containers: [container] } },
};

describe.skipIf(lacks("etcd"))("an update", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
    const spec = { containers: [container], tolerations: [toleration] };
    await api.call("POST", pods, { body: { metadata: { name: "p" }, spec } });
    const gated = { containers: [container], schedulingGates: [{ name: "example.com/g" }] };
    await api.call("POST", pods, { body: { metadata: { name: "gated" }, spec: gated } });
    for (const plural of ["deployments", "daemonsets", "statefulsets", "replicasets"])
      await api.call("POST", `${apps}/${plural}`, { body: { metadata: { name: "w" }, spec: workload } });
    const body = { metadata: { name: "b" }, subjects: [], roleRef: { kind: "ClusterRole", name: "view" } };
    await api.call("POST", `${rbac}/clusterrolebindings`, { body });
    await api.call("POST", `${rbac}/namespaces/default/rolebindings`, { body });
  });
  afterAll(() => api.close());

  const patched = async (path: string, body: object) => (await api.call("PATCH", path, { body, headers: merge })).json;

  it.each([
    ["a node", { nodeName: "n" }],
    ["another command", { containers: [{ ...container, command: ["x"] }] }],
    ["another container", { containers: [container, { name: "d", image: "x" }] }],
    ["host network", { hostNetwork: true }],
    ["a lost toleration", { tolerations: [] }],
    ["a new gate", { schedulingGates: [{ name: "example.com/g" }] }],
  ])("gives a pod no %s", async (_what, spec) => {
    expect(await patched(`${pods}/p`, { spec })).toMatchObject({ code: 422, reason: "Invalid" });
  });

  it("gives a pod an image, a toleration and a deadline, and lifts its gates", async () => {
    const live = (await api.call("GET", `${pods}/p`)).json;
    const spec = {
      containers: [{ ...live.spec.containers[0], image: "x:2" }],
      tolerations: [
        { ...toleration, tolerationSeconds: 5 },
        { key: "b", operator: "Exists" },
      ],
      activeDeadlineSeconds: 60,
    };
    expect((await patched(`${pods}/p`, { spec })).spec).toMatchObject(spec);
    const placed = { schedulingGates: null, nodeSelector: { a: "b" } };
    expect((await patched(`${pods}/gated`, { spec: placed })).spec.nodeSelector).toEqual({ a: "b" });
    const whole = (await api.call("GET", `${pods}/p`)).json;
    expect((await api.call("PUT", `${pods}/p`, { body: whole })).status).toBe(200);
  });

  it.each(["deployments", "daemonsets", "statefulsets", "replicasets"])("leaves the selector of %s", async (plural) => {
    const spec = { selector: { matchLabels: { a: "c" } } };
    expect(await patched(`${apps}/${plural}/w`, { spec })).toMatchObject({ code: 422, reason: "Invalid" });
    expect((await patched(`${apps}/${plural}/w`, { spec: { minReadySeconds: 3 } })).metadata.generation).toBe(2);
  });

  it("leaves what a StatefulSet stands on", async () => {
    expect(await patched(`${apps}/statefulsets/w`, { spec: { serviceName: "s" } })).toMatchObject({
      code: 422,
      message: expect.stringContaining("updates to statefulset spec for fields other than 'replicas', 'ordinals'"),
    });
  });

  it.each([`${rbac}/clusterrolebindings/b`, `${rbac}/namespaces/default/rolebindings/b`])(
    "does not turn %s to another role",
    async (path) => {
      const roleRef = { kind: "ClusterRole", name: "cluster-admin" };
      expect(await patched(path, { roleRef })).toMatchObject({
        code: 422,
        details: { causes: [{ field: "roleRef" }] },
      });
    },
  );

  it("keeps the name, the namespace and the uid", async () => {
    expect(await patched(`${pods}/p`, { metadata: { name: "q" } })).toMatchObject({
      code: 400,
      message: "the name of the object (q) does not match the name on the URL (p)",
    });
    expect((await patched(`${pods}/p`, { metadata: { namespace: "kube-system" } })).code).toBe(400);
    expect((await patched(`${pods}/p`, { metadata: { uid: "another" } })).code).toBe(422);
    const live = (await api.call("GET", `${pods}/p`)).json;
    const put = (metadata: object) =>
      api.call("PUT", `${pods}/p`, { body: { ...live, metadata: { ...live.metadata, ...metadata } } });
    expect((await put({ uid: "another" })).status).toBe(409);
    expect((await put({ name: "q" })).status).toBe(400);
  });
});

import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { KindCatalog } from "../src/kinds/catalog.ts";
import { conform } from "../src/schema/conform.ts";
import { messageOf } from "../src/schema/kinds.ts";
import { nodeIdentity, type RunningApi, startApi } from "./support/running-api.ts";

const base = "/api/v1/namespaces/default";
const deployments = "/apis/apps/v1/namespaces/default/deployments";
const merge = { "content-type": "application/merge-patch+json" };
const template = { metadata: { labels: { a: "b" } }, spec: { containers: [{ name: "c", image: "x" }] } };

/** Bodies with one value of a wrong type, where they are sent, and the field that the answer names. */
const wrong: [path: string, body: object, field: string][] = [
  [`${base}/configmaps`, { metadata: { labels: "x" } }, "ObjectMeta.metadata.labels of type map[string]string"],
  [`${base}/configmaps`, { metadata: { annotations: { a: 1 } } }, "ObjectMeta.metadata.annotations.a of type string"],
  [`${base}/configmaps`, { metadata: { ownerReferences: "foo" } }, "ObjectMeta.metadata.ownerReferences of type []v1"],
  [`${base}/configmaps`, { metadata: { finalizers: "x" } }, "ObjectMeta.metadata.finalizers of type []string"],
  [`${base}/configmaps`, { metadata: { name: 5 } }, "cannot unmarshal number into Go struct field ObjectMeta"],
  [`${base}/configmaps`, { metadata: "x" }, "ConfigMap.metadata of type v1.ObjectMeta"],
  [`${base}/configmaps`, { data: { a: true } }, "cannot unmarshal bool into Go struct field ConfigMap.data.a"],
  [`${base}/configmaps`, { binaryData: { a: "?" } }, "illegal base64 data at input byte 0"],
  [deployments, { spec: { replicas: "three" } }, "DeploymentSpec.spec.replicas of type int32"],
  [deployments, { spec: { replicas: 1.5 } }, "number 1.5"],
  [`${base}/pods`, { spec: { containers: ["x"] } }, "PodSpec.spec.containers[0] of type v1.Container"],
  [`${base}/pods`, { metadata: { creationTimestamp: "today" } }, "cannot parse it"],
  [
    `${base}/persistentvolumeclaims`,
    { spec: { resources: { requests: { storage: "big" } } } },
    "quantities must match",
  ],
  ["/apis/authorization.k8s.io/v1/subjectaccessreviews", { spec: { groups: "x" } }, "spec.groups of type []string"],
  ["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", { subjects: [5] }, "subjects[0] of type v1.Subject"],
];

describe("the schema", () => {
  it("knows every kind in every version", () => {
    for (const kind of new KindCatalog().all)
      for (const version of kind.versions) expect(messageOf(kind, version), kind.kind).toBeDefined();
  });

  it("reads nulls as a typed server does, and keeps the type of a claim template", () => {
    const binding = new KindCatalog().require("rolebindings", "rbac.authorization.k8s.io");
    const { object } = conform({ metadata: { labels: null }, subjects: [null] }, messageOf(binding, "v1")!);
    expect(object).toEqual({ metadata: {}, subjects: [{}] });
    const set = { spec: { volumeClaimTemplates: [{ kind: "PersistentVolumeClaim", apiVersion: "v1", spek: {} }] } };
    const read = conform(set, messageOf(new KindCatalog().require("statefulsets", "apps"), "v1")!);
    expect(read.object.spec).toEqual({ volumeClaimTemplates: [{ kind: "PersistentVolumeClaim", apiVersion: "v1" }] });
    expect(read.unknown).toEqual(["spec.volumeClaimTemplates[0].spek"]);
  });
});

describe.skipIf(lacks("etcd"))("the type of a value", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
    await api.call("POST", deployments, {
      body: { metadata: { name: "d" }, spec: { selector: { matchLabels: { a: "b" } }, template } },
    });
    await api.call("POST", "/api/v1/nodes", { body: { metadata: { name: "n1" } } });
  });
  afterAll(() => api.close());

  it.each(wrong)("is checked at %s in %j", async (path, body, text) => {
    const { json } = await api.call("POST", path, { body: { ...{ metadata: { name: "w" } }, ...body } });
    expect(json).toMatchObject({ code: 400, reason: "BadRequest", message: expect.stringContaining(text) });
  });

  it("is checked in an update, a patch, an apply and a status, whoever sends it", async () => {
    const bad = { apiVersion: "apps/v1", kind: "Deployment", metadata: { name: "d" }, spec: { replicas: "three" } };
    const refused = async (method: string, path: string, body: object, headers = {}, as = {}): Promise<void> => {
      const answer = await api.call(method, path, { body, headers, ...as });
      expect(answer.json, `${method} ${path}`).toMatchObject({
        code: 400,
        message: expect.stringMatching(
          /cannot be handled as a \w+: json: cannot unmarshal string into Go struct field/,
        ),
      });
    };
    await refused("PUT", `${deployments}/d`, bad);
    await refused("PATCH", `${deployments}/d`, { spec: { replicas: "three" } }, merge);
    await refused("PATCH", `${deployments}/d`, [{ op: "add", path: "/spec/replicas", value: "three" }], {
      "content-type": "application/json-patch+json",
    });
    await refused(
      "PATCH",
      `${deployments}/d`,
      { spec: { replicas: "three" } },
      {
        "content-type": "application/strategic-merge-patch+json",
      },
    );
    await refused("PATCH", `${deployments}/d?fieldManager=m`, bad, { "content-type": "application/apply-patch+yaml" });
    await refused(
      "PATCH",
      `${deployments}/new?fieldManager=m`,
      { ...bad, metadata: { name: "new" } },
      {
        "content-type": "application/apply-patch+yaml",
      },
    );
    const addresses = { metadata: { name: "n1" }, status: { addresses: "x" } };
    await refused("PUT", "/api/v1/nodes/n1/status", addresses, {}, { as: nodeIdentity("n1") });
    await refused("PATCH", "/api/v1/nodes/n1/status", { status: { addresses: "x" } }, merge, {
      as: nodeIdentity("n1"),
    });
  });

  it("is not asked of fields that the kind does not have: they are left out", async () => {
    const body = { metadata: { name: "pruned", colour: "red" }, dates: 5, data: { a: "1" } };
    const created = await api.call("POST", `${base}/configmaps`, { body });
    expect(created.status).toBe(201);
    expect([created.json.dates, created.json.metadata.colour, created.json.data]).toEqual([
      undefined,
      undefined,
      { a: "1" },
    ]);
    const warned = await api.call("PATCH", `${base}/configmaps/pruned?fieldValidation=Warn`, {
      body: { dates: 6 },
      headers: merge,
    });
    expect([warned.json.dates, warned.headers.warning]).toEqual([undefined, '299 - "unknown field \\"dates\\""']);
  });

  it("of an object that was stored before neither hides the others of its kind nor stays for ever", async () => {
    const put = async (key: string, object: object): Promise<void> => {
      const encoded = (text: string): string => Buffer.from(text).toString("base64");
      const body = JSON.stringify({ key: encoded(`/registry/${key}`), value: encoded(JSON.stringify(object)) });
      await fetch(`${api.etcd.url}/v3/kv/put`, { method: "POST", body });
    };
    const metadata = { name: "bad", namespace: "default", labels: "x", ownerReferences: "foo", finalizers: "x" };
    const spec = { replicas: "three", containers: ["x", null], ports: [null], externalIPs: 5, selector: null };
    const status = { addresses: "x", conditions: [null, 5], containerStatuses: [null], loadBalancer: "x" };
    const lists: Record<string, string> = {
      "minions/bad": "/api/v1/nodes",
      "pods/default/bad": `${base}/pods`,
      "services/specs/default/bad": `${base}/services`,
      "configmaps/default/bad": `${base}/configmaps`,
      "deployments/default/bad": deployments,
      "clusterrolebindings/bad": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
      "endpointslices/default/bad": "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
      "events/default/bad": `${base}/events`,
    };
    const accepts = ["application/json", "application/vnd.kubernetes.protobuf", "application/json;as=Table"];
    for (const [key, path] of Object.entries(lists)) {
      const { json } = await api.call("GET", path);
      const [apiVersion, kind] = [json.apiVersion, json.kind.replace(/List$/, "")];
      const lists = { subjects: [null], endpoints: [null, { addresses: 5 }], ports: [null], involvedObject: null };
      await put(key, { apiVersion, kind, metadata, spec, status, data: "x", ...lists });
      for (const accept of accepts) {
        const answer = await api.call("GET", path, { headers: { accept } });
        expect(answer.status, `${path} as ${accept}: ${answer.bytes}`).toBe(200);
      }
      await api.call("DELETE", `${path}/bad`);
      expect((await api.call("GET", `${path}/bad`)).status, path).toBe(404);
    }
  });
});

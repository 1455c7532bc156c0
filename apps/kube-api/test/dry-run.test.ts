import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type RunningApi, startApi } from "./support/running-api.ts";

const namespaced = "/api/v1/namespaces/dry";
const pod = { metadata: { name: "p" }, spec: { containers: [{ name: "c", image: "x:1" }] } };
const selector = { matchLabels: { a: "b" } };
const template = { metadata: { labels: { a: "b" } }, spec: pod.spec };
const patchType = { "content-type": "application/merge-patch+json" };
const labelled = { metadata: { labels: { changed: "yes" } } };

interface Write {
  method: string;
  path: string;
  body?: object;
  headers?: Record<string, string>;
}

/** Every verb and subresource that writes. */
const writes: Record<string, Write> = {
  create: { method: "POST", path: `${namespaced}/configmaps`, body: { metadata: { name: "new" } } },
  update: {
    method: "PUT",
    path: `${namespaced}/pods/p`,
    body: { ...pod, metadata: { name: "p", labels: { a: "b" } } },
  },
  patch: { method: "PATCH", path: `${namespaced}/pods/p`, body: labelled, headers: patchType },
  apply: {
    method: "PATCH",
    path: `${namespaced}/configmaps/applied?fieldManager=m`,
    body: { apiVersion: "v1", kind: "ConfigMap", metadata: { name: "applied" } },
    headers: { "content-type": "application/apply-patch+yaml" },
  },
  delete: { method: "DELETE", path: `${namespaced}/configmaps/c` },
  "delete with finalizers": { method: "DELETE", path: `${namespaced}/configmaps/held` },
  "delete with orphans": { method: "DELETE", path: `${namespaced}/configmaps/c?propagationPolicy=Orphan` },
  "delete a namespace": { method: "DELETE", path: "/api/v1/namespaces/dry" },
  deletecollection: { method: "DELETE", path: `${namespaced}/configmaps` },
  status: { method: "PATCH", path: `${namespaced}/pods/p/status`, body: labelled, headers: patchType },
  scale: {
    method: "PUT",
    path: "/apis/apps/v1/namespaces/dry/deployments/d/scale",
    body: { metadata: { name: "d" }, spec: { replicas: 9 } },
  },
  binding: { method: "POST", path: `${namespaced}/pods/p/binding`, body: { target: { name: "n" } } },
  eviction: { method: "POST", path: `${namespaced}/pods/p/eviction`, body: { metadata: { name: "p" } } },
  finalize: { method: "PUT", path: "/api/v1/namespaces/dry/finalize", body: { spec: { finalizers: [] } } },
};

describe.skipIf(lacks("etcd"))("a dry run", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
    await api.call("POST", "/api/v1/namespaces", { body: { metadata: { name: "dry" } } });
    await api.call("POST", `${namespaced}/pods`, { body: pod });
    for (const metadata of [{ name: "c" }, { name: "held", finalizers: ["example.com/hold"] }])
      await api.call("POST", `${namespaced}/configmaps`, { body: { metadata } });
    await api.call("POST", "/apis/apps/v1/namespaces/dry/deployments", {
      body: { metadata: { name: "d" }, spec: { replicas: 1, selector, template } },
    });
  });
  afterAll(() => api.close());

  /** All there is to lose, with its resource versions. */
  const contents = async (): Promise<unknown> =>
    Promise.all(
      ["/api/v1/namespaces/dry", `${namespaced}/configmaps`, `${namespaced}/pods`, "/apis/apps/v1/deployments"].map(
        async (path) => {
          const { items, ...object } = (await api.call("GET", path)).json;
          return items ?? object;
        },
      ),
    );
  const run = ({ method, path, body, headers = {} }: Write, query: string) =>
    api.call(method, `${path}${path.includes("?") ? "&" : "?"}${query}`, { headers, ...(body && { body }) });

  it.each(Object.keys(writes))("of %s changes nothing, and no other word runs it", async (name) => {
    const before = await contents();
    const tried = await run(writes[name]!, "dryRun=All");
    expect(tried.status, tried.bytes.toString()).toBeLessThan(300);
    const refused = await run(writes[name]!, "dryRun=Foo");
    expect(refused.json).toMatchObject({ code: 422, reason: "Invalid", message: expect.stringContaining('"Foo"') });
    expect(await contents()).toEqual(before);
  });

  const deletions = ["delete", "delete with finalizers", "delete a namespace", "deletecollection"];
  it.each(deletions)("of %s may be asked for in the body, as kubectl does", async (name) => {
    const before = await contents();
    const options = (word: string) => ({ kind: "DeleteOptions", apiVersion: "v1", dryRun: [word] });
    expect((await run({ ...writes[name]!, body: options("All") }, "")).status).toBe(200);
    expect((await run({ ...writes[name]!, body: options("Foo") }, "")).status).toBe(422);
    expect(await contents()).toEqual(before);
  });

  it("of an eviction may be asked for in its delete options", async () => {
    const before = await contents();
    const body = { metadata: { name: "p" }, deleteOptions: { dryRun: ["All"] } };
    expect((await run({ ...writes.eviction!, body }, "")).status).toBe(201);
    expect(await contents()).toEqual(before);
  });

  it("finds what a real one would: a conflict, a name that is taken", async () => {
    const taken = await run({ ...writes.create!, body: { metadata: { name: "c" } } }, "dryRun=All");
    expect(taken.json).toMatchObject({ code: 409, reason: "AlreadyExists" });
    const body = { dryRun: ["All"], preconditions: { uid: "another" } };
    expect((await run({ ...writes.delete!, body }, "")).status).toBe(409);
  });
});

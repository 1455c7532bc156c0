import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OwnerGraph } from "../src/controllers/owner-graph.ts";
import { KindCatalog } from "../src/kinds/catalog.ts";
import { type RunningApi, startApi, WatchReader } from "./support/running-api.ts";

const base = "/api/v1/namespaces/default";
const patient = { timeout: 10_000 };

interface Reference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  blockOwnerDeletion?: boolean;
}

describe("the graph of owners", () => {
  it("asks for an owner once, however often its dependent changes, and forgets it with the last", () => {
    const catalog = new KindCatalog();
    const graph = new OwnerGraph(catalog);
    const [secrets, configMaps] = [catalog.require("secrets"), catalog.require("configmaps")];
    const ownerReferences = [{ apiVersion: "v1", kind: "ConfigMap", name: "o", uid: "u" }];
    const object = { apiVersion: "v1", kind: "Secret", metadata: { name: "s", namespace: "n", ownerReferences } };
    const owner = { kind: configMaps, namespace: "n", name: "o", uid: "u" };
    expect(graph.set(secrets, object)).toMatchObject([{ name: "o", uid: "u" }]);
    expect(graph.set(secrets, object)).toEqual([]);
    const id = { kind: secrets, namespace: "n", name: "s" };
    expect(graph.dependentsOf(owner)).toEqual([id]);
    expect(graph.remove(id)).toHaveLength(1);
    expect([graph.dependentsOf(owner), graph.owners()]).toEqual([[], []]);
  });
});

describe.skipIf(lacks("etcd"))("a deletion", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  /** Makes an object and returns a reference to it. */
  const make = async (
    plural: string,
    name: string,
    extra: object = {},
    owners: Reference[] = [],
  ): Promise<Reference> => {
    const body = { metadata: { name, ownerReferences: owners, ...extra } };
    const path = plural.includes("/") ? plural : `${base}/${plural}`;
    const { json } = await api.call("POST", path, { body });
    return { apiVersion: json.apiVersion, kind: json.kind, name, uid: json.metadata?.uid ?? json.message };
  };
  const status = async (plural: string, name: string): Promise<number> =>
    (await api.call("GET", plural.includes("/") ? `${plural}/${name}` : `${base}/${plural}/${name}`)).status;
  const remove = (plural: string, name: string, policy: string) =>
    api.call("DELETE", `${base}/${plural}/${name}`, { body: { propagationPolicy: policy } });

  it("that orphans sets the dependents free, then ends", async () => {
    const owner = await make("configmaps", "parent");
    const other = await make("configmaps", "other-parent");
    await make("configmaps", "orphan", {}, [owner]);
    await make("secrets", "shared", {}, [owner, other]);
    const marked = await remove("configmaps", "parent", "Orphan");
    expect(marked.json.metadata.finalizers).toEqual(["orphan"]);
    await expect.poll(() => status("configmaps", "parent"), patient).toBe(404);
    const orphan = await api.call("GET", `${base}/configmaps/orphan`);
    expect([orphan.status, orphan.json.metadata.ownerReferences]).toEqual([200, undefined]);
    expect((await api.call("GET", `${base}/secrets/shared`)).json.metadata.ownerReferences).toEqual([other]);
  });

  it("in the foreground keeps the owner until the dependents that block it are gone", async () => {
    const owner = { ...(await make("configmaps", "top")), blockOwnerDeletion: true };
    const middle = { ...(await make("secrets", "middle", {}, [owner])), blockOwnerDeletion: true };
    await make("configmaps", "leaf", { finalizers: ["example.com/hold"] }, [middle]);
    await make("configmaps", "aside", { finalizers: ["example.com/hold"] }, [{ ...owner, blockOwnerDeletion: false }]);
    const marked = await remove("configmaps", "top", "Foreground");
    expect(marked.json.metadata.finalizers).toEqual(["foregroundDeletion"]);
    const deleting = async (name: string) =>
      (await api.call("GET", `${base}/configmaps/${name}`)).json.metadata.deletionTimestamp;
    await expect.poll(() => deleting("leaf"), patient).toEqual(expect.any(String));
    await expect.poll(() => deleting("aside"), patient).toEqual(expect.any(String));
    expect([await status("configmaps", "top"), await status("secrets", "middle")]).toEqual([200, 200]);
    const free = {
      body: { metadata: { finalizers: null } },
      headers: { "content-type": "application/merge-patch+json" },
    };
    await api.call("PATCH", `${base}/configmaps/leaf`, free);
    await expect.poll(() => status("configmaps", "top"), patient).toBe(404);
    expect(await status("secrets", "middle")).toBe(404);
    expect(await status("configmaps", "aside")).toBe(200);
    await api.call("PATCH", `${base}/configmaps/aside`, free);
  });

  it("takes the dependents along whatever the kind of the owner", async () => {
    const owners: [string, string][] = [
      ["secrets", "secret-owner"],
      ["serviceaccounts", "account-owner"],
      ["/apis/rbac.authorization.k8s.io/v1/clusterroles", "role-owner"],
      ["/api/v1/namespaces/default/persistentvolumeclaims", "claim-owner"],
    ];
    for (const [plural, name] of owners) {
      const owner = await make(plural, name);
      await make("configmaps", `of-${name}`, {}, [owner]);
      await api.call("DELETE", plural.includes("/") ? `${plural}/${name}` : `${base}/${plural}/${name}`);
    }
    for (const [, name] of owners) await expect.poll(() => status("configmaps", `of-${name}`), patient).toBe(404);
  });

  it("of an owner long gone takes along who names it later, and nobody who belongs to another of its uid", async () => {
    const gone = await make("configmaps", "long-gone");
    await remove("configmaps", "long-gone", "Background");
    await make("configmaps", "late", {}, [gone]);
    await expect.poll(() => status("configmaps", "late"), patient).toBe(404);
    const role = await make("/apis/rbac.authorization.k8s.io/v1/clusterroles", "living");
    await make("configmaps", "honest", {}, [role]);
    await make("configmaps", "forged", {}, [{ ...role, kind: "ConfigMap", apiVersion: "v1", name: "nobody" }]);
    await expect.poll(() => status("configmaps", "forged"), patient).toBe(404);
    expect(await status("configmaps", "honest")).toBe(200);
  });

  it("is not stopped by a reference that cannot be read", async () => {
    const key = (name: string): string => Buffer.from(`/registry/configmaps/default/${name}`).toString("base64");
    for (const [name, ownerReferences] of Object.entries({ b1: "foo", b2: [null, 5, { name: 1 }], b3: {} })) {
      const stored = { apiVersion: "v1", kind: "ConfigMap", metadata: { name, namespace: "default", ownerReferences } };
      const value = Buffer.from(JSON.stringify(stored)).toString("base64");
      await fetch(`${api.etcd.url}/v3/kv/put`, { method: "POST", body: JSON.stringify({ key: key(name), value }) });
    }
    const owner = await make("configmaps", "brave");
    await make("configmaps", "of-brave", {}, [owner]);
    const watch = new WatchReader(
      await api.open(`${base}/configmaps?watch=true&fieldSelector=metadata.name%3Dof-brave`),
    );
    expect((await watch.next()).type).toBe("ADDED");
    await remove("configmaps", "brave", "Foreground");
    expect((await watch.next()).type).toBe("DELETED");
    watch.close();
    await expect.poll(() => status("configmaps", "brave"), patient).toBe(404);
  });

  it("needs the uid of an owner, and a policy that exists", async () => {
    const reference = { apiVersion: "v1", kind: "ConfigMap", name: "x" };
    const refused = await api.call("POST", `${base}/configmaps`, {
      body: { metadata: { name: "nameless", ownerReferences: [reference] } },
    });
    expect(refused.json).toMatchObject({
      code: 422,
      details: { causes: [{ field: "metadata.ownerReferences[0].uid" }] },
    });
    expect((await remove("configmaps", "kube-root-ca.crt", "Sideways")).status).toBe(422);
  });
});

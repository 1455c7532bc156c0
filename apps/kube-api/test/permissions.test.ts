import { lacks } from "@keelson/conformance";
import { bootstrapTokenSecret } from "@keelson/secret-format";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Identity, nodeIdentity, type RunningApi, startApi } from "./support/running-api.ts";

const rbac = "/apis/rbac.authorization.k8s.io/v1";
/** Bindings are followed, so they take effect a moment later. */
const patient = { timeout: 10_000 };
const jane: Identity = { user: "jane", groups: ["devs"] };

describe.skipIf(lacks("etcd"))("permissions", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
  });
  afterAll(() => api.close());

  const status = async (as: Identity, method: string, path: string, body?: object): Promise<number> =>
    (await api.call(method, path, { as, ...(body && { body }) })).status;
  const secrets = "/api/v1/namespaces/default/secrets";

  const nobodies: Identity[] = [
    jane,
    { user: "system:serviceaccount:default:fresh", groups: ["system:serviceaccounts"] },
    { user: "system:bootstrap:abcdef", groups: ["system:bootstrappers"] },
  ];
  it.each(nobodies)(
    "of $user, to whom nothing is bound, are to ask about itself and see which kinds there are",
    async (as) => {
      const { json } = await api.call("GET", "/api/v1");
      for (const { name, namespaced } of json.resources as { name: string; namespaced: boolean }[]) {
        if (name.includes("/")) continue;
        expect([name, await status(as, "GET", `/api/v1/${name}`)]).toEqual([name, 403]);
        const path = namespaced ? `/api/v1/namespaces/kube-system/${name}/x` : `/api/v1/${name}/x`;
        expect([name, await status(as, "GET", path)]).toEqual([name, 403]);
      }
      expect(await status(as, "GET", "/apis/apps/v1/deployments")).toBe(403);
      for (const path of ["/apis", "/openapi/v2", "/version", "/readyz"])
        expect(await status(as, "GET", path)).toBe(200);
      const review = { spec: { namespace: "default" } };
      const mine = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {
        as,
        body: review,
      });
      const resources = mine.json.status.resourceRules.flatMap((rule: { resources: string[] }) => rule.resources);
      expect(resources).toEqual(["selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews"]);
    },
  );

  it("end in an answer that says who may not do what", async () => {
    expect(await status(jane, "GET", "/metrics")).toBe(403);
    const refused = await api.call("GET", secrets, { as: jane });
    expect(refused.json).toMatchObject({
      kind: "Status",
      code: 403,
      reason: "Forbidden",
      message:
        'secrets is forbidden: User "jane" cannot list resource "secrets" in API group "" in the namespace "default"',
    });
  });

  it("grow by the roles that are bound to a user, and shrink with them", async () => {
    const binding = {
      metadata: { name: "devs" },
      subjects: [{ kind: "Group", name: "devs" }],
      roleRef: { kind: "ClusterRole", name: "edit" },
    };
    await api.call("POST", `${rbac}/namespaces/default/rolebindings`, { body: binding });
    await expect.poll(() => status(jane, "GET", secrets), patient).toBe(200);
    expect(await status(jane, "GET", "/api/v1/namespaces/kube-system/secrets")).toBe(403);
    expect(await status(jane, "POST", secrets, { metadata: { name: "s" } })).toBe(201);
    const review = await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {
      as: jane,
      body: { spec: { resourceAttributes: { verb: "delete", resource: "secrets", namespace: "default" } } },
    });
    expect(review.json.status.allowed).toBe(true);
    const rulesIn = async (namespace: string) =>
      (
        await api.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {
          as: jane,
          body: { spec: { namespace } },
        })
      ).json.status.resourceRules;
    const all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    const rule = (await rulesIn("default")).find(
      ({ resources }: { resources: string[] }) => resources[0] === "secrets",
    );
    expect([...rule.verbs].sort()).toEqual(all);
    expect(await rulesIn("kube-system")).toHaveLength(3);
    await api.call("DELETE", `${rbac}/namespaces/default/rolebindings/devs`);
    await expect.poll(() => status(jane, "GET", secrets), patient).toBe(403);
  });

  it("name single objects, and are never handed on", async () => {
    const role = {
      metadata: { name: "one" },
      rules: [
        { verbs: ["get"], apiGroups: [""], resources: ["secrets"], resourceNames: ["s"] },
        { verbs: ["*"], apiGroups: ["rbac.authorization.k8s.io"], resources: ["*"] },
      ],
    };
    await api.call("POST", `${rbac}/clusterroles`, { body: role });
    const binding = {
      metadata: { name: "one" },
      subjects: [{ kind: "User", name: "jane" }],
      roleRef: { kind: "ClusterRole", name: "one" },
    };
    await api.call("POST", `${rbac}/clusterrolebindings`, { body: binding });
    await expect.poll(() => status(jane, "GET", `${secrets}/s`), patient).toBe(200);
    expect(await status(jane, "GET", `${secrets}/other`)).toBe(403);
    expect(await status(jane, "GET", `${rbac}/clusterroles`)).toBe(200);
    expect(await status(jane, "POST", `${rbac}/clusterrolebindings`, { ...binding, metadata: { name: "two" } })).toBe(
      403,
    );
  });

  it("of a node are its own objects", async () => {
    const n1 = nodeIdentity("n1");
    expect(await status(n1, "POST", "/api/v1/nodes", { metadata: { name: "n1" } })).toBe(201);
    expect(await status(n1, "PUT", "/api/v1/nodes/n1/status", { metadata: { name: "n1" }, status: {} })).toBe(200);
    const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    expect(await status(n1, "POST", leases, { metadata: { name: "n1" } })).toBe(201);
    expect(await status(nodeIdentity("n2"), "PUT", `${leases}/n1`, { metadata: { name: "n1" } })).toBe(403);
    // Whoever claims a node's name without its group is nobody.
    expect(await status({ user: "system:node:n1" }, "PUT", "/api/v1/nodes/n1", { metadata: { name: "n1" } })).toBe(403);
  });

  it("come with a bootstrap token while it lives", async () => {
    const { secret, ...token } = { id: "abcdef", secret: "0123456789abcdef" };
    const stored = bootstrapTokenSecret({
      ...token,
      secret,
      description: "",
      usages: ["authentication"],
      groups: ["system:bootstrappers:x"],
      expiresAtMs: Date.now() + 60_000,
    });
    await api.call("POST", "/api/v1/namespaces/kube-system/secrets", { body: stored });
    const whoami = async (bearer: string) => {
      const headers = { authorization: `Bearer ${bearer}`, "x-remote-user": "" };
      const body = { kind: "SelfSubjectReview", spec: {} };
      return api.call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", { headers, body, as: { user: "" } });
    };
    const known = await whoami(`abcdef.${secret}`);
    expect(known.json.status.userInfo).toMatchObject({
      username: "system:bootstrap:abcdef",
      groups: expect.arrayContaining(["system:bootstrappers", "system:bootstrappers:x"]),
    });
    expect((await whoami("abcdef.0123456789abcdee")).status).toBe(401);
  });

  it("never come from a name that cannot be read", async () => {
    expect(await status({ user: "" }, "GET", secrets)).toBe(401);
    const basic = { authorization: "Basic YTpi", "x-remote-user": "" };
    expect((await api.call("GET", secrets, { headers: basic, as: { user: "" } })).status).toBe(401);
  });

  it("are counted under kube-apiserver's metric names, with no label of a client's making", async () => {
    await api.call("GET", "/api/v1/nonsense/made-up");
    const { bytes } = await api.call("GET", "/metrics");
    expect(bytes.toString()).toMatch(
      /apiserver_request_total\{verb="LIST",group="",version="v1",resource="secrets".*code="403"\}/,
    );
    expect(bytes.toString()).not.toContain("nonsense");
  });

  it("do not let the namespaces that clusters stand on be deleted", async () => {
    const refused = await api.call("DELETE", "/api/v1/namespaces/default");
    expect(refused.json).toMatchObject({ code: 403, message: expect.stringContaining("may not be deleted") });
  });
});

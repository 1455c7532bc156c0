import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Identity, type RunningApi, startApi } from "./support/running-api.ts";

const rbac = "/apis/rbac.authorization.k8s.io/v1";
const patient = { timeout: 10_000 };
const jane: Identity = { user: "jane", groups: ["helpdesk"] };

describe.skipIf(lacks("etcd"))("impersonation", () => {
  let api: RunningApi;
  beforeAll(async () => {
    api = await startApi();
    await api.call("POST", `${rbac}/clusterroles`, {
      body: {
        metadata: { name: "helpdesk" },
        rules: [
          { verbs: ["impersonate"], apiGroups: [""], resources: ["users"], resourceNames: ["bob"] },
          { verbs: ["impersonate"], apiGroups: [""], resources: ["groups"], resourceNames: ["devs"] },
        ],
      },
    });
    await api.call("POST", `${rbac}/clusterrolebindings`, {
      body: {
        metadata: { name: "helpdesk" },
        roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: "helpdesk" },
        subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "Group", name: "helpdesk" }],
      },
    });
  });
  afterAll(() => api.close());

  const ask = (headers: Record<string, string>, path = "/api/v1/secrets", as?: Identity) =>
    api.call("GET", path, { headers, ...(as && { as }) });
  const whoAmI = async (headers: Record<string, string>, as?: Identity) => {
    const path = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    const { status, json } = await api.call("POST", path, { headers, body: {}, ...(as && { as }) });
    return { status, user: json.status?.userInfo };
  };

  it("takes the administrator for whom he names, with no right of his own", async () => {
    expect((await ask({})).status).toBe(200);
    const refused = await ask({ "Impersonate-User": "bob" });
    expect(refused.status).toBe(403);
    expect(refused.json.message).toContain('User "bob" cannot list resource "secrets"');
    expect(await whoAmI({ "Impersonate-User": "bob", "Impersonate-Group": "devs", "Impersonate-Uid": "u1" })).toEqual({
      status: 201,
      user: expect.objectContaining({ username: "bob", uid: "u1", groups: ["devs", "system:authenticated"] }),
    });
  });

  it("gives a service account its groups, and nobody more than anonymity", async () => {
    const account = await whoAmI({ "Impersonate-User": "system:serviceaccount:default:robot" });
    expect(account.user.groups).toEqual([
      "system:serviceaccounts",
      "system:serviceaccounts:default",
      "system:authenticated",
    ]);
    expect((await ask({ "Impersonate-User": "system:anonymous" })).status).toBe(401);
  });

  it("passes extra information on, under its decoded key", async () => {
    const { user } = await whoAmI({ "Impersonate-User": "bob", "Impersonate-Extra-acme.com%2Fproject": "tunnel" });
    expect(user.extra).toEqual({ "acme.com/project": ["tunnel"] });
  });

  it("asks for the right to impersonate each part", async () => {
    await expect.poll(async () => (await whoAmI({ "Impersonate-User": "bob" }, jane)).status, patient).toBe(201);
    const refusals: [headers: Record<string, string>, message: string][] = [
      [{ "Impersonate-User": "root" }, 'users "root" is forbidden: User "jane" cannot impersonate resource "users"'],
      [
        { "Impersonate-User": "bob", "Impersonate-Group": "system:masters" },
        'groups "system:masters" is forbidden: User "jane" cannot impersonate resource "groups"',
      ],
      [
        { "Impersonate-User": "bob", "Impersonate-Extra-Scopes": "all" },
        'cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io"',
      ],
      [{ "Impersonate-User": "bob", "Impersonate-Uid": "1" }, 'cannot impersonate resource "uids"'],
      [
        { "Impersonate-User": "system:serviceaccount:default:robot" },
        'cannot impersonate resource "serviceaccounts" in API group "" in the namespace "default"',
      ],
    ];
    for (const [headers, message] of refusals) {
      const { status, json } = await ask(headers, "/api/v1/secrets", jane);
      expect([status, json.message]).toEqual([403, expect.stringContaining(message)]);
    }
  });

  it("never acts as the sender who meant not to", async () => {
    expect((await ask({ "Impersonate-Group": "devs" })).status).toBe(500);
    expect((await ask({ "Impersonate-Usr": "bob" })).status).toBe(400);
  });
});

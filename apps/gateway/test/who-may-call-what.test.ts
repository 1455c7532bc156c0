import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { request as httpsRequest } from "node:https";
import { allowedGroups, type RoleClass, supervisorRoutes } from "@keelson/protocol/supervisor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { agentPassword, bootstrapToken, type ClientIdentity, serverPassword } from "./support/fake-registration.ts";
import { type CallOptions, type Harness, startHarness } from "./support/harness.ts";

let harness: Harness;
let callers: Record<string, CallOptions>;
beforeAll(async () => {
  harness = await startHarness();
  const { registration } = harness;
  callers = {
    "no credentials": {},
    "wrong token": { basic: "node:wrong" },
    agent: { basic: `node:${agentPassword}` },
    "bootstrap token": { headers: { Authorization: `Bearer ${bootstrapToken}` } },
    node: { client: await registration.client("system:node:agent1", ["system:nodes"]) },
    "other node": { client: await registration.client("system:node:agent2", ["system:nodes"]) },
    "kube-proxy": { client: await registration.client("system:kube-proxy") },
    server: { basic: `server:${serverPassword}` },
    admin: { client: await registration.client("system:admin", ["system:masters"]) },
    "admin with a wrong token": {
      basic: "node:wrong",
      client: await registration.client("system:admin", ["system:masters"]),
    },
  };
});
afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

/** The role classes that each caller's credential opens, straight from the reference. */
const opens: Record<string, readonly RoleClass[] | "nothing, 401"> = {
  "no credentials": [],
  "wrong token": "nothing, 401",
  agent: ["agent"],
  "bootstrap token": ["agent"],
  node: ["agent", "node"],
  "other node": ["agent", "node"],
  "kube-proxy": [],
  server: ["server"],
  admin: ["system"],
  "admin with a wrong token": ["system"],
};

describe("every supervisor route, for every caller", () => {
  const cases = supervisorRoutes.flatMap((route) => Object.keys(opens).map((caller) => ({ route, caller })));
  test.each(cases)("$route.name as $caller", async ({ route, caller }) => {
    const open = opens[caller]!;
    const expected =
      route.role === "public" || (open !== "nothing, 401" && open.includes(route.role))
        ? "passes"
        : open === "nothing, 401"
          ? 401
          : 403;
    const status = await statusOf(route.path.replace("*", ""), route.methods?.[0] ?? "GET", callers[caller]!);
    if (expected === "passes") expect([401, 403]).not.toContain(status);
    else expect(status).toBe(expected);
  });

  test("the table above covers each class of the routes", () => {
    expect(new Set(supervisorRoutes.map((route) => route.role))).toEqual(new Set(Object.keys(allowedGroups)));
  });
});

test("a certificate of another CA or past its time proves nothing", async () => {
  const { registration } = harness;
  const key = await registration.client("system:admin", ["system:masters"]);
  const forged = registration.requestHeaderCa;
  const foreign: ClientIdentity = { ...key, cert: reissue(key.cert) };
  function reissue(pem: string): string {
    return forged.issue(
      { commonName: "system:admin", organizations: ["system:masters"], purposes: ["client"] },
      new X509Certificate(pem).publicKey,
      Date.now(),
    );
  }
  expect((await harness.call("/api/v1/secrets", { client: foreign })).status).toBe(401);
  expect((await harness.call("/v1-k3s/config", { client: foreign })).status).toBe(401);
  const expired = await registration.client("system:node:agent1", ["system:nodes"], -1_000);
  expect((await harness.call("/api/v1/secrets", { client: expired })).status).toBe(401);
  const before = harness.seen.length;
  expect((await harness.call("/api/v1/secrets")).status).toBe(401);
  expect((await harness.call("/api/v1/secrets", { basic: `server:${serverPassword}` })).status).toBe(401);
  expect(harness.seen.length).toBe(before);
});

test("a serving certificate is no client certificate", async () => {
  const { registration } = harness;
  const client = await registration.client("x");
  const profile = { commonName: "system:admin", organizations: ["system:masters"], purposes: ["server"] as const };
  const cert = registration.clientCa.issue(profile, new X509Certificate(client.cert).publicKey, Date.now());
  expect((await harness.call("/api", { client: { ...client, cert } })).status).toBe(401);
});

test("a bearer token travels to the Kubernetes API in its one form, and nothing that only resembles one does", async () => {
  const send = (authorization: string) => harness.call("/api/v1/pods", { headers: { Authorization: authorization } });
  expect((await send("bearer   a.b.c")).status).toBe(200);
  const seen = harness.seen.at(-1)!;
  expect(seen.headers.authorization).toBe("Bearer a.b.c");
  expect(seen.headers["x-remote-user"]).toBeUndefined();
  const before = harness.seen.length;
  for (const odd of ["Bearer", "Bearer a b", "Bearer a,b", "Bearer a\tb", "Digest x", "Basic Og==", " "]) {
    expect((await send(odd)).status, odd).toBe(401);
  }
  expect(harness.seen.length).toBe(before);
});

test("once the client CA is replaced, certificates of the old one open nothing, even on open connections", async () => {
  await using own = await startHarness();
  const client = await own.registration.client("system:admin", ["system:masters"]);
  const { Agent } = await import("node:https");
  const agent = new Agent({ keepAlive: true, maxSockets: 1, ca: own.registration.serverCa.bundlePem, ...client });
  const get = async (): Promise<number> => {
    const req = httpsRequest({ host: "127.0.0.1", port: own.port, path: "/api", agent });
    req.end();
    const [res] = await once(req, "response");
    res.resume();
    await once(res, "end");
    return res.statusCode;
  };
  expect(await get()).toBe(200);
  await own.registration.replaceClientCa();
  await own.gateway.refresh();
  expect(await get()).toBe(401);
  agent.destroy();
});

/** CONNECT has no path and no response object: it is asked for by hand. */
async function statusOf(path: string, method: string, caller: CallOptions): Promise<number> {
  if (method !== "CONNECT") return (await harness.call(path, { method, ...caller })).status;
  const authorization =
    caller.basic === undefined ? {} : { Authorization: `Basic ${Buffer.from(caller.basic).toString("base64")}` };
  const req = httpsRequest({
    host: "127.0.0.1",
    port: harness.port,
    method: "CONNECT",
    path: "agent1:10250",
    ca: harness.registration.serverCa.bundlePem,
    agent: false,
    headers: { ...authorization, ...caller.headers },
    ...caller.client,
  });
  req.end();
  const [res, socket] = await Promise.race([once(req, "connect"), once(req, "response")]);
  socket?.destroy();
  return res.statusCode;
}

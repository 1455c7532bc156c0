import { createPrivateKey } from "node:crypto";
import { createCertificateRequest, readCertificate, splitCertificateAndKey } from "@keelson/pki";
import { afterAll, beforeAll, expect, test } from "vitest";
import { agentPassword, bootstrapToken } from "./support/fake-registration.ts";
import { type Harness, startHarness } from "./support/harness.ts";

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

const basic = `node:${agentPassword}`;
const node = { "k3s-Node-Name": "agent1", "k3s-Node-Password": "8d298443ced32995c43dfb39b1c3e05a" };

test("/cacerts serves the exact bytes of the server CA to anybody, whatever the method", async () => {
  for (const method of ["GET", "POST"]) {
    const answer = await harness.call("/cacerts", { method });
    expect(answer).toMatchObject({ status: 200, body: harness.registration.serverCa.bundlePem });
    expect(answer.headers["content-type"]).toBe("text/plain");
  }
  expect(await harness.call("/ping")).toMatchObject({ status: 200, body: "pong" });
});

test("the config and CA files are served to an agent's token", async () => {
  const config = await harness.call("/v1-k3s/config?x=1", { basic });
  expect(config.status).toBe(200);
  expect(JSON.parse(config.body)).toMatchObject({ HTTPSPort: 6443, SupervisorPort: 6443 });
  const { serverCa, clientCa } = harness.registration;
  expect(await harness.call("/v1-k3s/server-ca.crt", { basic })).toMatchObject({ body: serverCa.bundlePem });
  expect(await harness.call("/v1-k3s/client-ca.crt", { basic })).toMatchObject({ body: clientCa.bundlePem });
  const part = await harness.call("/v1-k3s/client-ca.crt", { basic, headers: { Range: "bytes=0-9" } });
  expect(part).toMatchObject({ status: 206, body: "-----BEGIN" });
  expect(part.headers["content-range"]).toBe(`bytes 0-9/${clientCa.bundlePem.length}`);
  const since = { "If-Modified-Since": "Fri, 31 Dec 2038 00:00:00 GMT" };
  expect(await harness.call("/v1-k3s/client-ca.crt", { basic, headers: since })).toMatchObject({ status: 304 });
});

test("a v1.21 agent gets certificate and key, a new one a certificate for its own key", async () => {
  const old = await harness.call("/v1-k3s/client-kubelet.crt", { basic, headers: node });
  expect(old.headers["content-type"]).toBe("text/plain; charset=utf-8");
  const issued = splitCertificateAndKey(old.body);
  expect(readCertificate(issued.certificatesPem).commonName).toBe("system:node:agent1");
  const key = createPrivateKey(issued.keyPem ?? "");
  const body = createCertificateRequest(key);
  const answer = await harness.call("/v1-k3s/client-kubelet.crt", { method: "POST", basic, headers: node, body });
  expect(answer.status).toBe(200);
  expect(answer.body).not.toContain("PRIVATE KEY");
  const missing = await harness.call("/v1-k3s/client-kubelet.crt", { basic });
  expect(missing.status).toBe(400);
  expect(JSON.parse(missing.body)).toMatchObject({
    kind: "Status",
    reason: "BadRequest",
    message: "node name not set",
  });
});

test("bootstrap tokens and node certificates open the agent routes", async () => {
  const headers = { Authorization: `Bearer ${bootstrapToken}` };
  expect(await harness.call("/v1-k3s/apiservers", { headers })).toMatchObject({ body: '["192.0.2.1:6443"]\n' });
  const client = await harness.registration.client("system:node:agent1", ["system:nodes"]);
  expect(await harness.call("/v1-k3s/readyz", { client })).toMatchObject({ status: 200, body: "ok" });
});

test("everything else goes to the Kubernetes API with the verified user and nothing the client claimed", async () => {
  const client = await harness.registration.client("system:node:agent1", ["system:nodes"]);
  const headers = { "X-Remote-User": "system:admin", "X-Remote-Group": "system:masters", Authorization: "Bearer x" };
  const answer = await harness.call("/api/v1/nodes/agent1?a=b", { client, headers });
  expect(answer).toMatchObject({ status: 200, body: '{"kind":"Fake"}' });
  const seen = harness.seen.at(-1)!;
  expect(seen.url).toBe("/api/v1/nodes/agent1?a=b");
  expect(seen.headers["x-remote-user"]).toBe("system:node:agent1");
  expect(seen.headers["x-remote-group"]).toBe("system:nodes, system:authenticated");
  expect(seen.headers.authorization).toBeUndefined();
});

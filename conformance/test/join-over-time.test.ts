import { createPrivateKey } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCertificateRequest, exportPrivateKey, generateEcKey, readCertificate } from "@keelson/pki";
import { nodeUser } from "@keelson/protocol/supervisor";
import { formatToken, hashCaBundle } from "@keelson/secret-format";
import { ManualClock } from "@keelson/service";
import { afterEach, beforeEach, expect, test } from "vitest";
import { joinReplayAgent } from "../../e2e/src/replay-agent.ts";
import { replayRequest } from "../../e2e/src/replay-client.ts";
import { type JoinServer, startJoinServer } from "../src/join-server.ts";

const dayMs = 86_400_000;

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-time-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true, force: true });
});

const agentOptions = (server: JoinServer, token = server.registration.serverToken) => ({
  era: "newest" as const,
  server: server.url,
  token,
  nodeName: "agent1",
  nodeIps: ["192.0.2.2"],
});

test("a cluster that was off until every leaf had expired serves and is joined again, under the same CAs", async () => {
  const clock = new ManualClock(Date.now() - 400 * dayMs);
  const before = await startJoinServer({ dataDir: directory, deps: { clock } });
  const bundles = await before.registration.caBundles();
  const token = before.registration.serverToken;
  const key = await generateEcKey();
  const issued = await before.registration.issueCertificate({
    kind: "client-kubelet",
    caller: { user: "node", groups: ["k3s:agent"], method: "basic" },
    node: { name: "agent1", password: "0123456789abcdef0123456789abcdef" },
    csrDer: createCertificateRequest(key),
  });
  const expired = issued.ok ? issued.value : "";
  expect(readCertificate(expired)).toMatchObject({ commonName: nodeUser("agent1") });
  expect(readCertificate(expired).notAfterMs).toBeLessThan(Date.now());
  const secrets = [...before.cluster.secrets];
  await before.stop();

  const server = await startJoinServer({ dataDir: directory });
  for (const [name, secret] of secrets) server.cluster.secrets.set(name, secret);
  expect(await server.registration.caBundles()).toEqual(bundles);
  expect(server.registration.serverToken).toBe(token);
  const back = await joinReplayAgent({
    ...agentOptions(server, token),
    nodePassword: "0123456789abcdef0123456789abcdef",
    files: { "client-kubelet.crt": expired, "client-kubelet.key": exportPrivateKey(key) },
    openTunnel: true,
  });
  expect(back.retries).toBe(0);
  expect(readCertificate(back.files["client-kubelet.crt"]!).notAfterMs).toBeGreaterThan(Date.now() + 300 * dayMs);
  expect(createPrivateKey(back.files["client-kubelet.key"]!).equals(key)).toBe(true);
  back.tunnel?.terminate();
  await server.stop();
});

test("rotating the token under traffic refuses the old one from then on, and never one that has the new one", async () => {
  const server = await startJoinServer({ dataDir: directory, registration: { token: "first-secret" } });
  const { serverCaPem } = await server.registration.caBundles();
  const status = async (password: string, path = "/v1-k3s/config", body?: Buffer): Promise<number> => {
    const user = body === undefined ? "node" : "server";
    const credential = Buffer.from(`${user}:${password}`).toString("base64");
    const answer = await replayRequest(server.url, {
      path,
      method: body === undefined ? "GET" : "PUT",
      headers: [["Authorization", `Basic ${credential}`]],
      ...(body === undefined ? {} : { body }),
      trust: { ca: serverCaPem },
    });
    return answer.status;
  };
  const seen: { password: string; status: number; rotated: boolean }[] = [];
  let rotated = false;
  let over = false;
  const traffic = Promise.all(
    ["first-secret", "second-secret"].map(async (password) => {
      while (!over) {
        const asked = rotated;
        seen.push({ password, status: await status(password), rotated: asked });
      }
    }),
  );
  await expect.poll(() => seen.length).toBeGreaterThan(10);
  expect(await status("first-secret", "/v1-k3s/token", Buffer.from('{"newToken":"second-secret"}'))).toBe(200);
  rotated = true;
  const count = seen.length;
  await expect.poll(() => seen.length).toBeGreaterThan(count + 10);
  over = true;
  await traffic;
  for (const { password, status: code, rotated: after } of seen) {
    if (after) expect(code, password).toBe(password === "second-secret" ? 200 : 401);
    else expect([200, 401]).toContain(code);
  }
  const token = formatToken(hashCaBundle(serverCaPem), "server", "second-secret");
  expect((await joinReplayAgent(agentOptions(server, token))).retries).toBe(0);
  await server.stop();
});

import { createPublicKey } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createKubeClient } from "@keelson/kube-client";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { ManualClock, silentLogger } from "@keelson/service";
import { expect, onTestFinished, test } from "vitest";
import { formatListenerFile } from "../src/listener/certificate-file.ts";
import { ListenerSecret } from "../src/listener/listener-secret.ts";

interface Stored {
  metadata: { annotations: Record<string, string>; resourceVersion?: string };
  data: Record<string, string>;
}

/** A Kubernetes API that knows one Secret. */
async function startApi() {
  const api = { stored: undefined as Stored | undefined, writes: 0, isUp: true };
  const folder = await mkdtemp(join(tmpdir(), "keelson-secret-"));
  const socketPath = join(folder, "api.sock");
  const server: Server = createServer((req, res) => {
    let text = "";
    req.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    req.on("end", () => {
      const answer = (status: number, body: object) =>
        res.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
      const status = (code: number, reason: string) =>
        answer(code, { kind: "Status", status: "Failure", reason, code });
      if (!api.isUp) return status(503, "ServiceUnavailable");
      if (req.method === "GET") return api.stored === undefined ? status(404, "NotFound") : answer(200, api.stored);
      const sent = JSON.parse(text) as Stored;
      const version = api.stored?.metadata.resourceVersion;
      if (req.method === "PUT" && sent.metadata.resourceVersion !== version) return status(409, "Conflict");
      api.writes++;
      api.stored = { ...sent, metadata: { ...sent.metadata, resourceVersion: String(api.writes) } };
      return answer(200, api.stored);
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  const client = createKubeClient({ socketPath });
  onTestFinished(async () => {
    client.close();
    server.close();
    await rm(folder, { recursive: true, force: true });
  });
  return { api, client };
}

async function issuer() {
  const key = await generateEcKey();
  const ca = new Authority(createCaCertificate("k3s-server", key, Date.now()), key);
  return async (names: string[]) => {
    const leafKey = await generateEcKey();
    const chainPem = ca.issue({ commonName: "k3s", purposes: ["server"], names }, createPublicKey(leafKey), Date.now());
    return formatListenerFile({ chainPem, keyPem: exportPrivateKey(leafKey) }, names);
  };
}

test("the listener certificate is a Secret that servers share without taking turns in it", async () => {
  const { api, client } = await startApi();
  const issue = await issuer();
  const deps = { clock: new ManualClock(Date.now()), log: silentLogger };
  const [first, second] = [new ListenerSecret(client, deps), new ListenerSecret(client, deps)];
  first.show(await issue(["localhost", "192.0.2.1"]));
  await expect
    .poll(() => api.stored?.metadata.annotations)
    .toMatchObject({
      "listener.cattle.io/cn-192.0.2.1": "192.0.2.1",
      "listener.cattle.io/fingerprint": expect.stringMatching(/^SHA1=[0-9A-F]{40}$/),
    });
  // Good for all names of the second server: it stays.
  second.show(await issue(["localhost"]));
  const grown = await issue(["localhost", "192.0.2.1", "192.0.2.2"]);
  second.show(grown);
  await expect.poll(() => api.stored?.data).toEqual(JSON.parse(grown).data);
  expect(api.writes).toBe(2);
  // Of another CA: it is replaced, whatever its names.
  const foreign = await (await issuer())(["localhost"]);
  first.show(foreign);
  await expect.poll(() => api.stored?.data).toEqual(JSON.parse(foreign).data);
});

test("it is written when the API is there, and left alone when it is marked as static", async () => {
  const { api, client } = await startApi();
  const issue = await issuer();
  const clock = new ManualClock(Date.now());
  const secret = new ListenerSecret(client, { clock, log: silentLogger });
  api.isUp = false;
  const text = await issue(["localhost"]);
  secret.show(text);
  await expect.poll(() => clock.pendingTimers, { timeout: 10_000 }).toBeGreaterThan(0);
  api.isUp = true;
  clock.advance(30_000);
  await expect.poll(() => api.stored?.data).toEqual(JSON.parse(text).data);
  api.stored!.metadata.annotations["listener.cattle.io/static"] = "true";
  secret.show(await issue(["localhost", "192.0.2.9"]));
  secret.stop();
  expect(api.writes).toBe(1);
});

import { createPublicKey } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage } from "node:http";
import { createServer, request as httpsRequest, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { type Authority, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { expect, test } from "vitest";
import type { UpstreamTls } from "../src/index.ts";
import { createFakeRegistration, type FakeRegistration } from "./support/fake-registration.ts";
import { startHarness } from "./support/harness.ts";

async function issue(authority: Authority, commonName: string, purpose: "client" | "server") {
  const key = await generateEcKey();
  const profile = { commonName, purposes: [purpose], names: purpose === "server" ? ["127.0.0.1"] : [] } as const;
  return { cert: authority.issue(profile, createPublicKey(key), Date.now()), key: exportPrivateKey(key) };
}

interface Apiserver {
  url: string;
  server: Server;
  seen: { headers: IncomingMessage["headers"]; proxy: string }[];
}

/** A kube-apiserver that believes X-Remote-* only from a certificate of the request-header CA. */
async function startApiserver(registration: FakeRegistration, name: string): Promise<Apiserver> {
  const seen: Apiserver["seen"] = [];
  const tls = { ca: registration.requestHeaderCa.bundlePem, requestCert: true, rejectUnauthorized: true };
  const server = createServer({ ...(await issue(registration.serverCa, name, "server")), ...tls }, (req, res) => {
    const proxy = (req.socket as TLSSocket).getPeerCertificate().subject.CN;
    seen.push({ headers: req.headers, proxy: String(proxy) });
    req.resume().once("end", () => res.end(name));
  });
  server.on("upgrade", (_req, socket) => {
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    socket.pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `https://127.0.0.1:${(server.address() as AddressInfo).port}`, server, seen };
}

function stop({ server }: Apiserver): void {
  server.close();
  server.closeAllConnections();
}

async function setUp() {
  const registration = await createFakeRegistration();
  const [first, second] = [await startApiserver(registration, "first"), await startApiserver(registration, "second")];
  let tls: UpstreamTls = {
    ca: registration.serverCa.bundlePem,
    ...(await issue(registration.requestHeaderCa, "system:auth-proxy", "client")),
  };
  const kubeApi = { urls: [first.url, second.url], tls: () => tls };
  const harness = await startHarness({ registration, config: { kubeApi } });
  const client = await registration.client("system:admin", ["system:masters"]);
  const replaceTls = (latest: UpstreamTls): void => {
    tls = latest;
  };
  return { registration, harness, first, second, client, replaceTls };
}

test("an upstream is told the user under the front proxy's certificate, and judges tokens and strangers itself", async () => {
  const { harness, first, second, client } = await setUp();
  expect(await harness.call("/api", { client })).toMatchObject({ status: 200, body: "first" });
  expect(first.seen.at(-1)).toMatchObject({
    proxy: "system:auth-proxy",
    headers: { "x-remote-user": "system:admin", "x-remote-group": "system:masters, system:authenticated" },
  });
  const token = { Authorization: "Bearer a.b.c", "X-Remote-User": "system:admin" };
  expect((await harness.call("/api", { headers: token })).status).toBe(200);
  expect(first.seen.at(-1)?.headers["x-remote-user"]).toBeUndefined();
  expect(first.seen.at(-1)?.headers.authorization).toBe("Bearer a.b.c");
  expect((await harness.call("/version")).status).toBe(200);
  expect(first.seen.at(-1)?.headers["x-remote-user"]).toBeUndefined();
  await harness[Symbol.asyncDispose]();
  stop(first);
  stop(second);
});

test("when one upstream dies the next takes over, for requests with a body and for upgrades too", async () => {
  const { harness, first, second, client } = await setUp();
  expect(await harness.call("/api", { client })).toMatchObject({ body: "first" });
  stop(first);
  expect(await harness.call("/api", { client })).toMatchObject({ status: 200, body: "second" });
  const post = await harness.call("/api/v1/pods", { client, method: "POST", body: "x".repeat(100_000) });
  expect(post).toMatchObject({ status: 200, body: "second" });
  const req = httpsRequest({
    host: "127.0.0.1",
    port: harness.port,
    path: "/exec",
    ca: harness.registration.serverCa.bundlePem,
    agent: false,
    headers: { Connection: "Upgrade", Upgrade: "websocket" },
    ...client,
  });
  req.end();
  const [, socket] = await once(req, "upgrade");
  socket.write("echo");
  expect(String((await once(socket, "data"))[0])).toBe("echo");
  socket.destroy();
  stop(second);
  expect(await harness.call("/api", { client })).toMatchObject({ status: 503 });
  await harness[Symbol.asyncDispose]();
});

test("a renewed front-proxy certificate is used from the next connection on; a stranger's upstream is not believed", async () => {
  const { harness, registration, first, second, client, replaceTls } = await setUp();
  expect((await harness.call("/api", { client })).status).toBe(200);
  const renewed = await issue(registration.requestHeaderCa, "system:auth-proxy-2", "client");
  replaceTls({ ca: registration.serverCa.bundlePem, ...renewed });
  expect((await harness.call("/api", { client })).status).toBe(200);
  expect(first.seen.at(-1)?.proxy).toBe("system:auth-proxy-2");
  replaceTls({ ca: registration.clientCa.bundlePem, ...renewed });
  const seen = first.seen.length;
  expect((await harness.call("/api", { client })).status).toBe(503);
  expect(first.seen.length).toBe(seen);
  await harness[Symbol.asyncDispose]();
  stop(first);
  stop(second);
});

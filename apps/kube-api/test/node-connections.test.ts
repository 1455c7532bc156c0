import { once } from "node:events";
import { type createServer as createHttpServer, request as httpRequest } from "node:http";
import { createServer as createHttpsServer, type Server } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { lacks } from "@keelson/conformance";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { admin, issue, newAuthority, nodeIdentity, type RunningApi, startApi } from "./support/running-api.ts";

/** A kubelet that answers with what it was asked, and echoes on upgraded connections. */
describe.skipIf(lacks("etcd"))("connections into a node", () => {
  let api: RunningApi;
  let kubelet: Server;
  let gateway: Server;
  const connects: string[] = [];

  beforeAll(async () => {
    const ca = await newAuthority("nodes");
    const serving = await issue(ca, { commonName: "n1", purpose: "server", names: ["n1"] });
    const client = await issue(ca, { commonName: "kube-apiserver", purpose: "client" });
    const tls = { allowHalfOpen: true, ...serving, ca: ca.bundlePem, requestCert: true, rejectUnauthorized: true };
    kubelet = createHttpsServer(tls, (req, res) => {
      res.setHeader("content-type", "text/plain");
      if (!req.url?.includes("follow=true")) return res.end(`${req.method} ${req.url}`);
      res.write("line 1\n");
      req.socket.once("close", () => connects.push("kubelet closed"));
    });
    kubelet.on("upgrade", (req, socket: Duplex) => {
      socket.write(
        `HTTP/1.1 101 Switching Protocols\r\nUpgrade: ${req.headers.upgrade}\r\nConnection: Upgrade\r\n\r\n`,
      );
      socket.write(`${req.url}\n`);
      socket.pipe(socket);
    });
    const kubeletPort = await listening(kubelet);
    gateway = createHttpsServer(tls, (_req, res) => res.writeHead(404).end());
    gateway.on("connect", (req, socket: Duplex) => {
      connects.push(req.url ?? "");
      if (!req.url?.startsWith("n1:")) return socket.end("HTTP/1.1 502 no tunnel to that node\r\n\r\n");
      const upstream: Socket = connect({ port: kubeletPort, host: "127.0.0.1", allowHalfOpen: true });
      upstream.once("connect", () => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
      upstream.on("error", () => socket.destroy());
      socket.on("error", () => upstream.destroy());
      upstream.pipe(socket).pipe(upstream);
    });
    const connectUrl = `https://127.0.0.1:${await listening(gateway)}`;
    const material = { ca: ca.bundlePem, ...client };
    api = await startApi({ egress: { connectUrl, tls: material }, kubelet: material });
    for (const name of ["n1", "n2"]) {
      const status = { daemonEndpoints: { kubeletEndpoint: { Port: 10250 } } };
      await api.call("POST", "/api/v1/nodes", { body: { metadata: { name }, status } });
      const spec = { nodeName: name, containers: [{ name: "c", image: "i" }] };
      await api.call("POST", "/api/v1/namespaces/default/pods", { body: { metadata: { name: `on-${name}` }, spec } });
    }
  });
  afterAll(async () => {
    await api.close();
    kubelet.closeAllConnections();
    kubelet.close();
    gateway.closeAllConnections();
    gateway.close();
  });

  const pods = "/api/v1/namespaces/default/pods";

  it("fetch logs through the gateway's CONNECT and the kubelet's own paths", async () => {
    const { status, bytes } = await api.call("GET", `${pods}/on-n1/log?tailLines=5`);
    expect([status, bytes.toString()]).toEqual([200, "GET /containerLogs/default/on-n1/c?tailLines=5"]);
    expect(connects).toContain("n1:10250");
    const proxied = await api.call("GET", "/api/v1/nodes/n1/proxy/stats/summary?only=cpu");
    expect(proxied.bytes.toString()).toBe("GET /stats/summary?only=cpu");
  });

  it("follow logs, and let go of the kubelet when the client leaves", async () => {
    const stream = await api.open(`${pods}/on-n1/log?follow=true`);
    const [chunk] = (await once(stream, "data")) as [Buffer];
    expect(chunk.toString()).toBe("line 1\n");
    stream.destroy();
    await expect.poll(() => connects, { timeout: 10_000 }).toContain("kubelet closed");
  });

  it("relay an upgrade byte for byte, with the API's flags under the kubelet's names", async () => {
    const headers = {
      connection: "Upgrade",
      upgrade: "SPDY/3.1",
      "x-remote-user": admin.user,
      "x-remote-group": "system:masters",
    };
    const path = `${pods}/on-n1/exec?command=ls&command=-l&stdin=true&stdout=true&container=c`;
    const request = httpRequest({ socketPath: api.socketPath, method: "POST", path, headers });
    request.end();
    const [response, socket, head] = (await once(request, "upgrade")) as [{ statusCode: number }, Duplex, Buffer];
    expect(response.statusCode).toBe(101);
    socket.setEncoding("utf8");
    let received = head.toString();
    socket.on("data", (text: string) => {
      received += text;
    });
    const payload = "x".repeat(200_000);
    socket.end(payload);
    await once(socket, "end");
    expect(received).toBe(`/exec/default/on-n1/c?command=ls&command=-l&input=1&output=1\n${payload}`);
  });

  it("say which node cannot be reached, and refuse who may not", async () => {
    const lost = await api.call("GET", `${pods}/on-n2/log`);
    expect(lost.status).toBe(502);
    expect(lost.json.message).toContain("kubelet of node n2");
    expect(lost.json.message).toContain("502 no tunnel to that node");
    expect((await api.call("GET", `${pods}/none/log`)).status).toBe(404);
    expect((await api.call("GET", `${pods}/on-n1/log`, { as: { user: "jane" } })).status).toBe(403);
    expect((await api.call("GET", "/api/v1/nodes/n1/proxy/pods", { as: nodeIdentity("n2") })).status).toBe(403);
    const request = httpRequest({
      socketPath: api.socketPath,
      path: `${pods}/on-n1/exec?command=ls`,
      headers: { connection: "Upgrade", upgrade: "SPDY/3.1", "x-remote-user": "jane" },
    });
    request.end();
    const [response] = (await once(request, "response")) as [{ statusCode: number }];
    expect(response.statusCode).toBe(403);
  });
});

async function listening(server: Server | ReturnType<typeof createHttpServer>): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

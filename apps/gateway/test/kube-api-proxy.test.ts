import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as connectHttp2 } from "node:http2";
import { request as httpsRequest, type RequestOptions } from "node:https";
import { type AddressInfo, connect as connectTcp, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { ClientIdentity } from "./support/fake-registration.ts";
import { type Harness, startHarness } from "./support/harness.ts";

async function admin(harness: Harness): Promise<ClientIdentity> {
  return await harness.registration.client("system:admin", ["system:masters"]);
}

function open(harness: Harness, client: ClientIdentity, path: string, options: RequestOptions = {}) {
  const ca = harness.registration.serverCa.bundlePem;
  return httpsRequest({ host: "127.0.0.1", port: harness.port, path, ca, agent: false, ...client, ...options });
}

test("a watch is passed on byte by byte: first the head, then each event", async () => {
  let emit: (line: string) => void = () => {};
  await using harness = await startHarness({
    kubeApi: (_req, res) => {
      res.writeHead(200, { "Content-Type": "application/json" });
      res.flushHeaders();
      emit = (line) => res.write(line);
    },
  });
  const req = open(harness, await admin(harness), "/api/v1/pods?watch=true");
  req.end();
  const [res] = await once(req, "response");
  emit('{"type":"ADDED"}\n');
  expect(String((await once(res, "data"))[0])).toBe('{"type":"ADDED"}\n');
  emit('{"type":"DELETED"}\n');
  expect(String((await once(res, "data"))[0])).toBe('{"type":"DELETED"}\n');
  req.destroy();
});

test("a client that goes away ends the upstream request; an upstream that breaks off breaks the answer off", async () => {
  let closed: Promise<unknown> = Promise.resolve();
  await using harness = await startHarness({
    kubeApi: (req, res) => {
      res.writeHead(200);
      res.write("x");
      closed = once(res, "close");
      if (req.url?.includes("break")) setImmediate(() => req.socket.destroy());
    },
  });
  const client = await admin(harness);
  const leaving = open(harness, client, "/api/v1/pods?watch=1");
  leaving.end();
  await once(leaving, "response");
  leaving.destroy();
  await closed;
  const broken = open(harness, client, "/break");
  broken.end();
  const [res] = await once(broken, "response");
  res.resume();
  await expect(once(res, "end")).rejects.toMatchObject({ code: "ECONNRESET" });
});

test("an HTTP/2 client whose process is gone leaves no connection and no upstream request behind", async () => {
  const closed: Promise<unknown>[] = [];
  await using harness = await startHarness({
    kubeApi: (_req, res) => {
      closed.push(once(res, "close"));
      res.writeHead(200);
      res.write("x");
    },
  });
  // Stands between, to end one direction as a kernel does for a process that has ended.
  const towards = connectTcp({ host: "127.0.0.1", port: harness.port, allowHalfOpen: true });
  const relay = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.pipe(towards, { end: false });
    towards.on("data", (bytes) => socket.write(bytes));
  });
  await new Promise<void>((resolve) => relay.listen(0, "127.0.0.1", resolve));
  const session = connectHttp2(`https://127.0.0.1:${(relay.address() as AddressInfo).port}`, {
    ca: harness.registration.serverCa.bundlePem,
    ...(await admin(harness)),
  });
  session.on("error", () => {});
  const watches = ["/api/v1/pods?watch=1", "/api/v1/nodes?watch=1"].map((path) => session.request({ ":path": path }));
  await Promise.all(watches.map((watch) => once(watch, "response")));
  for (const watch of watches) watch.on("error", () => {});
  const ended = once(towards, "end");
  towards.end();
  await Promise.all([...closed, ended]);
  session.destroy();
  relay.close();
});

test("the upstream is not read faster than the client reads", async () => {
  let written = 0;
  await using harness = await startHarness({
    kubeApi: (_req, res) => {
      const chunk = Buffer.alloc(64 * 1024);
      const fill = (): void => {
        while (!res.destroyed && res.write(chunk)) written += chunk.length;
        res.once("drain", fill);
      };
      fill();
    },
  });
  const req = open(harness, await admin(harness), "/logs");
  req.end();
  const [res] = await once(req, "response");
  res.pause();
  let before = -1;
  while (written !== before) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  expect(written).toBeLessThan(16 * 1024 * 1024);
  res.once("data", () => res.pause());
  req.destroy();
});

test("an upgraded connection carries bytes both ways and ends one direction at a time", async () => {
  await using harness = await startHarness();
  const seen: string[] = [];
  harness.kubeApi.on("upgrade", (req, socket, head) => {
    seen.push(String(req.headers["x-remote-user"]), String(req.headers.upgrade), head.toString());
    socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\nhello");
    socket.on("data", (chunk: Buffer) => seen.push(chunk.toString()));
    socket.on("end", () => socket.end("goodbye"));
  });
  const req = open(harness, await admin(harness), "/api/v1/namespaces/default/pods/p/exec", {
    method: "POST",
    headers: { Connection: "Upgrade", Upgrade: "SPDY/3.1", "X-Stream-Protocol-Version": "v4.channel.k8s.io" },
    ...({ allowHalfOpen: true } as object),
  });
  req.end();
  const [res, socket, head] = await once(req, "upgrade");
  expect(res.statusCode).toBe(101);
  const received: string[] = [head.toString()];
  socket.on("data", (chunk: Buffer) => received.push(chunk.toString()));
  socket.end("last words");
  await once(socket, "end");
  expect(received.join("")).toBe("hellogoodbye");
  expect(seen).toEqual(["system:admin", "SPDY/3.1", "", "last words"]);
});

test("a refused upgrade brings the upstream's own answer", async () => {
  await using harness = await startHarness();
  harness.kubeApi.on("upgrade", (_req, socket) => {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
  });
  const req = open(harness, await admin(harness), "/exec", {
    headers: { Connection: "Upgrade", Upgrade: "websocket" },
  });
  req.end();
  const [res] = await once(req, "response");
  expect(res.statusCode).toBe(403);
  expect(String((await once(res, "data"))[0])).toBe("no");
});

test("HTTP/2 requests run side by side on one connection, with trailers", async () => {
  await using harness = await startHarness({
    kubeApi: (req, res) => {
      res.writeHead(200, { Trailer: "X-Sum", "Content-Type": "text/plain" });
      req.on("data", (chunk) => res.write(chunk));
      req.on("end", () => {
        res.addTrailers({ "X-Sum": "42" });
        res.end(`|${req.method} ${req.url} ${req.headers["x-remote-user"]} ${req.headers.host}`);
      });
    },
  });
  const ca = harness.registration.serverCa.bundlePem;
  const session = connectHttp2(`https://127.0.0.1:${harness.port}`, { ca, ...(await admin(harness)) });
  const answers = await Promise.all(
    Array.from({ length: 20 }, async (_, index) => {
      const stream = session.request({ ":method": "POST", ":path": `/apis/x${index}` });
      stream.end(`body${index}`);
      let text = "";
      let trailers: Record<string, unknown> = {};
      stream.on("trailers", (headers) => {
        trailers = headers;
      });
      for await (const chunk of stream) text += chunk;
      return { text, sum: trailers["x-sum"] };
    }),
  );
  answers.forEach((answer, index) => {
    const text = `body${index}|POST /apis/x${index} system:admin 127.0.0.1:${harness.port}`;
    expect(answer).toEqual({ text, sum: "42" });
  });
  session.close();
});

test("bodies above 3 MiB are refused, announced or not, but not those for a proxied Service", async () => {
  await using harness = await startHarness({
    kubeApi: (req, res) => {
      let size = 0;
      req.on("data", (chunk: Buffer) => {
        size += chunk.length;
      });
      req.on("end", () => res.end(String(size)));
    },
  });
  const client = await admin(harness);
  const body = Buffer.alloc(3 * 1024 * 1024 + 1);
  const announced = await harness.call("/api/v1/pods", { method: "POST", body, client });
  expect(announced.status).toBe(413);
  const chunked = { "Transfer-Encoding": "chunked" };
  const streamed = await harness.call("/api/v1/pods", { method: "POST", body, client, headers: chunked });
  expect(JSON.parse(streamed.body)).toMatchObject({ code: 413, reason: "RequestEntityTooLarge" });
  const proxied = await harness.call("/api/v1/namespaces/a/services/b/proxy/", { method: "POST", body, client });
  expect(proxied).toMatchObject({ status: 200, body: String(body.length) });
});

test("without the Kubernetes API the answer is a quick 503, and the gateway serves on", async () => {
  await using harness = await startHarness();
  harness.kubeApi.closeAllConnections();
  harness.kubeApi.close();
  const client = await admin(harness);
  const before = performance.now();
  const answer = await harness.call("/api/v1/pods", { client });
  expect(performance.now() - before).toBeLessThan(1_000);
  expect(answer).toMatchObject({ status: 503, headers: { "retry-after": "1" } });
  expect(JSON.parse(answer.body)).toMatchObject({ reason: "ServiceUnavailable" });
  expect(await harness.call("/ping")).toMatchObject({ status: 200 });
});

test("a stale kept-alive connection to the upstream is not the client's problem", async () => {
  await using harness = await startHarness();
  const client = await admin(harness);
  for (let round = 0; round < 5; round++) {
    expect((await harness.call("/api/v1/pods", { client })).status).toBe(200);
    harness.kubeApi.closeIdleConnections();
  }
});

test("whatever nonsense an upstream answers, nothing malformed is passed on and the gateway serves on", async () => {
  const directory = await mkdtemp(join(tmpdir(), "keelson-nonsense-"));
  const socketPath = join(directory, "kube-api.sock");
  let answer = "";
  const upstream = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.once("data", () => socket.end(Buffer.from(answer, "latin1")));
  });
  upstream.listen(socketPath);
  await using harness = await startHarness({ config: { kubeApi: { socketPath } } });
  const client = await admin(harness);
  for (answer of [
    "SSH-2.0-OpenSSH\r\n",
    "HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Bad: a\x01b\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "",
  ]) {
    const outcome = await harness.call("/api", { client }).then(
      ({ status }) => status,
      () => "broken off",
    );
    expect([200, 502, 503, 999, "broken off"], JSON.stringify(answer)).toContain(outcome);
  }
  expect(await harness.call("/ping")).toMatchObject({ status: 200 });
  upstream.close();
  await rm(directory, { recursive: true });
});

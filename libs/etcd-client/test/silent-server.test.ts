import { createServer as createHttp2Server, type Http2Server } from "node:http2";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { services } from "@keelson/protocol/etcd";
import { afterEach, expect, test } from "vitest";
import { createEtcdClient, type EtcdClient } from "../src/index.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

async function listen(server: Server | Http2Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** A server that answers every Range with an empty result. */
async function rangeServer(): Promise<number> {
  const body = services.kv.range.response.encode({ kvs: [], more: false, count: 0 });
  const frame = Buffer.concat([Buffer.alloc(5), body]);
  frame.writeUInt32BE(body.length, 1);
  const server = createHttp2Server();
  server.on("stream", (stream) => {
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    stream.end(frame);
  });
  return listen(server);
}

/** A cable to a server that can be pulled: connections stay open, nothing comes through any more. */
async function cable(port: number): Promise<{ port: number; pull(): void }> {
  const sockets: Socket[] = [];
  let pulled = false;
  const server = createServer((near) => {
    sockets.push(near);
    near.on("error", () => {});
    if (pulled) return;
    const far = connect(port, "127.0.0.1");
    sockets.push(far);
    far.on("error", () => {});
    near.pipe(far).pipe(near);
  });
  closers.push(() => {
    for (const socket of sockets) socket.destroy();
  });
  return {
    port: await listen(server),
    pull() {
      pulled = true;
      for (const socket of sockets) socket.unpipe();
    },
  };
}

function clientOf(...ports: number[]): EtcdClient {
  const client = createEtcdClient({ endpoints: ports.map((port) => `http://127.0.0.1:${port}`), timeoutMs: 10_000 });
  closers.push(() => client.close());
  return client;
}

test("a server that falls silent is given up after two seconds, and a read is answered by the next", async () => {
  const line = await cable(await rangeServer());
  const client = clientOf(line.port, await rangeServer());
  await client.range({ key: Buffer.from("a") });
  line.pull();
  const startedAt = performance.now();
  await client.range({ key: Buffer.from("a") });
  expect(performance.now() - startedAt).toBeLessThan(4_000);
});

test("a write that may have arrived is not sent again, it fails", async () => {
  const line = await cable(await rangeServer());
  const client = clientOf(line.port, await rangeServer());
  await client.range({ key: Buffer.from("a") });
  line.pull();
  await expect(client.put({ key: Buffer.from("a"), value: Buffer.from("b") })).rejects.toMatchObject({ code: 14 });
});

test("a write that gets no answer is the last one sent to a server that does not answer", async () => {
  const line = await cable(await rangeServer());
  const client = clientOf(line.port, await rangeServer());
  await client.range({ key: Buffer.from("a") });
  line.pull();
  await expect(client.put({ key: Buffer.from("a"), value: Buffer.from("b") })).rejects.toMatchObject({ code: 14 });
  const startedAt = performance.now();
  await client.put({ key: Buffer.from("a"), value: Buffer.from("b") });
  expect(performance.now() - startedAt).toBeLessThan(500);
});

test("an endpoint that cannot be connected to costs a call half a second, not the time that TCP takes to give up", async () => {
  // A TLS handshake that is never answered, as a host that is gone does not answer.
  const silent = await listen(createServer((socket) => closers.push(() => socket.destroy())));
  const endpoints = [`https://127.0.0.1:${silent}`, `http://127.0.0.1:${await rangeServer()}`];
  const client = createEtcdClient({ endpoints, timeoutMs: 10_000 });
  closers.push(() => client.close());
  const startedAt = performance.now();
  await client.put({ key: Buffer.from("a"), value: Buffer.from("b") });
  expect(performance.now() - startedAt).toBeLessThan(2_000);
  const watching = performance.now();
  await client.put({ key: Buffer.from("a"), value: Buffer.from("b") });
  expect(performance.now() - watching).toBeLessThan(400);
});

test("connections that end under their calls fail those calls and nothing else", async () => {
  const server = createHttp2Server();
  server.on("session", (session) => setTimeout(() => session.destroy(), 3));
  server.on("stream", (stream) => stream.on("error", () => {}));
  const port = await listen(server);
  // With so little patience, pings are due while the connections end.
  const client = createEtcdClient({ endpoints: [`http://127.0.0.1:${port}`], timeoutMs: 5_000, silenceMs: 1 });
  closers.push(() => client.close());
  for (let round = 0; round < 20; round++) {
    await expect(client.range({ key: Buffer.from("a") })).rejects.toMatchObject({ code: 14 });
  }
});

test("of the replicas behind one name, one that hangs is left for the other, although it accepts connections", async () => {
  const port = await rangeServer();
  // The same port at another loopback address: a kernel that accepts, and nobody behind it.
  const hanging = createServer((socket) => closers.push(() => socket.destroy()));
  await new Promise<void>((resolve) => hanging.listen(port, "127.0.0.2", resolve));
  closers.push(() => hanging.close());
  const client = createEtcdClient({
    endpoints: [`http://datastore:${port}`],
    timeoutMs: 10_000,
    silenceMs: 300,
    resolve: async () => [
      { address: "127.0.0.2", family: 4 },
      { address: "127.0.0.1", family: 4 },
    ],
  });
  closers.push(() => client.close());
  await expect(client.put({ key: Buffer.from("a"), value: Buffer.from("b") })).rejects.toMatchObject({ code: 14 });
  const startedAt = performance.now();
  for (let call = 0; call < 3; call++) await client.put({ key: Buffer.from("a"), value: Buffer.from("b") });
  expect(performance.now() - startedAt).toBeLessThan(500);
});

import { once } from "node:events";
import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { connect, type Socket } from "node:net";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { authService, type MethodDescriptor, services } from "@keelson/protocol/etcd";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type AdapterServer,
  type Backend,
  type BackendServer,
  backends,
  lacks,
  startAdapter,
  startBackend,
} from "../src/index.ts";

/** Whatever a client sends: the process stays, its memory is bounded, and other clients notice nothing. */

const methods = new Map(
  [
    ...Object.values(services).flatMap((service) => Object.values(service) as unknown as MethodDescriptor[]),
    ...(authService as unknown as MethodDescriptor[]),
  ].map((method) => [method.path, method]),
);

/** A stream that is not answered after so long is given up. */
const silenceMs = 500;

const needs = {
  sqlite: [],
  postgres: ["postgres", "initdb"],
  mariadb: ["mariadbd", "mariadb-install-db"],
} as const satisfies Record<Backend, readonly Parameters<typeof lacks>[number][]>;

const withServers = backends.filter((backend) => !lacks(...needs[backend]));

describe.each(withServers)("the adapter on %s under hostile input", { timeout: 120_000 }, (backend) => {
  let store: BackendServer;
  let adapter: AdapterServer;
  let bystander: EtcdClient;
  let pid = 0;

  beforeAll(async () => {
    store = await startBackend(backend);
    adapter = await startAdapter(store.freshEndpoint());
    pid = adapter.process.pid;
    bystander = createEtcdClient({ endpoints: [adapter.url], timeoutMs: 10_000 });
    await bystander.put({ key: Buffer.from("bystander"), value: Buffer.from("unharmed") });
  }, 60_000);
  afterAll(async () => {
    bystander.close();
    await adapter.process.stop();
    await store.close();
  });
  afterEach(async () => {
    expect(adapter.process.pid).toBe(pid);
    expect((await bystander.range({ key: Buffer.from("bystander") })).kvs[0]?.value.toString()).toBe("unharmed");
  });

  const residentMiB = (): number =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1_024;
  const session = async (): Promise<ClientHttp2Session> => {
    const opened = connectHttp2(adapter.url);
    opened.on("error", () => {});
    await once(opened, "connect");
    return opened;
  };
  /** Sends a body to a method; resolves with the gRPC status, or what else ended the stream. */
  const call = (on: ClientHttp2Session, path: string, body: Uint8Array): Promise<string> =>
    new Promise((resolve) => {
      const stream = on.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
        te: "trailers",
      });
      let status = "no status";
      stream.on("response", (headers) => {
        if (headers["grpc-status"] !== undefined) status = String(headers["grpc-status"]);
      });
      stream.on("trailers", (trailers) => {
        status = String(trailers["grpc-status"]);
      });
      stream.on("error", (error) => {
        status = error.message;
      });
      stream.on("close", () => resolve(status));
      stream.resume();
      stream.end(body);
      setTimeout(() => stream.destroy(), silenceMs).unref();
    });
  const framed = (message: Uint8Array): Buffer => {
    const frame = Buffer.alloc(5 + message.length);
    frame.writeUInt32BE(message.length, 1);
    frame.set(message, 5);
    return frame;
  };

  it("answers malformed messages on every method with an error of its own", async () => {
    const on = await session();
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...methods.keys()), fc.uint8Array({ maxLength: 60 }), async (path, message) => {
        let isMalformed = false;
        try {
          methods.get(path)!.request.decode(message);
        } catch {
          isMalformed = true;
        }
        // A stream without an error of its own goes on, so that only unary calls are sure to end well.
        const status = await call(on, path, framed(message));
        expect(status, path).toMatch(isMalformed ? /^[1-9]\d*$/ : /^\d+$|^no status$/);
      }),
      { numRuns: 400 },
    );
    on.close();
  });

  it("survives bodies that are no gRPC frames", async () => {
    const on = await session();
    for (const body of ["", "00", "0000000005", "01000000010a", "00ffffffff00", "ffffffffffffffffff"]) {
      for (const path of ["/etcdserverpb.KV/Range", "/etcdserverpb.Watch/Watch", "/nothing.At/All", "/"]) {
        await call(on, path, Buffer.from(body, "hex"));
      }
    }
    on.close();
  });

  it("refuses oversize requests without keeping them", async () => {
    const before = residentMiB();
    const large = services.kv.put.request.encode({ key: Buffer.from("large"), value: Buffer.alloc(1_600_000) });
    const on = await session();
    expect(await call(on, "/etcdserverpb.KV/Put", framed(large))).toBe("3");
    const larger = Buffer.alloc(8 << 20);
    const statuses = await Promise.all(
      Array.from({ length: 16 }, () => call(on, "/etcdserverpb.KV/Put", framed(larger))),
    );
    for (const status of statuses) expect(status).not.toBe("0");
    on.destroy();
    expect(residentMiB() - before).toBeLessThan(150);
  });

  it("survives connections that say nothing, nonsense, or half a request, and leave", async () => {
    const sockets: Socket[] = [];
    const { port } = new URL(adapter.url);
    const open = async (bytes: Uint8Array | string): Promise<void> => {
      const socket = connect(Number(port), "127.0.0.1");
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(bytes);
      sockets.push(socket);
    };
    const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for (let index = 0; index < 50; index++) {
      await open("");
      await open("GET / HTTP/1.1\r\n");
      for (const target of ["//", "///", "//[", "http://[x"]) await open(`GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`);
      await open(preface);
      await open(Buffer.concat([Buffer.from(preface), Buffer.from("000006040000000000000300000064", "hex")]));
      await open(Buffer.from(fc.sample(fc.uint8Array({ maxLength: 300 }), { seed: index, numRuns: 1 })[0]!));
      await open(
        Buffer.concat([
          Buffer.from(preface),
          Buffer.from(fc.sample(fc.uint8Array({ maxLength: 300 }), { seed: 1_000 + index, numRuns: 1 })[0]!),
        ]),
      );
    }
    expect((await bystander.range({ key: Buffer.from("bystander") })).count).toBe(1);
    for (const socket of sockets) socket.destroy();
  });

  it("holds ten thousand idle watches", async () => {
    const before = residentMiB();
    const count = 10_000;
    const watcher = createEtcdClient({ endpoints: [adapter.url] });
    let created = 0;
    let delivered = 0;
    const stream = await watcher.stream(services.watch.watch, {
      onMessage: (response) => {
        if (response.created) created++;
        delivered += response.events.length;
      },
      onEnd: () => {},
    });
    for (let index = 0; index < count; index++) {
      stream.send({ createRequest: { key: Buffer.from(`idle/${index}`), prevKv: true, progressNotify: true } });
    }
    while (created < count) await new Promise((done) => setTimeout(done, 10));
    await bystander.put({ key: Buffer.from("idle/77"), value: Buffer.from("x") });
    while (delivered < 1) await new Promise((done) => setTimeout(done, 5));
    expect(residentMiB() - before).toBeLessThan(100);
    const start = performance.now();
    for (let index = 0; index < 100; index++)
      await bystander.put({ key: Buffer.from("other"), value: Buffer.from("x") });
    expect(performance.now() - start).toBeLessThan(5_000);
    watcher.close();
  });

  it("does not let a client that never reads slow down the others", async () => {
    const stuck = await session();
    const stream = stuck.request({
      ":method": "POST",
      ":path": "/etcdserverpb.Watch/Watch",
      "content-type": "application/grpc",
      te: "trailers",
    });
    stream.on("error", () => {});
    stream.pause();
    stream.write(
      framed(
        services.watch.watch.request.encode({
          createRequest: { key: Buffer.from("slow/"), rangeEnd: Buffer.from("slow0") },
        }),
      ),
    );
    const before = residentMiB();
    const value = Buffer.alloc(64 << 10, "x");
    for (let index = 0; index < 1_000; index++) await bystander.put({ key: Buffer.from("slow/key"), value });
    expect(residentMiB() - before).toBeLessThan(250);
    stuck.destroy();
  });
});

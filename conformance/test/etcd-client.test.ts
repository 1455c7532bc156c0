import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { compareTargets, type Event, grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type EtcdServer, freePort, lacks, startEtcd } from "../src/index.ts";
import { TcpProxy } from "../src/servers/tcp-proxy.ts";

const key = (text: string): Buffer => Buffer.from(text);
const portOf = (url: string): number => Number(new URL(url).port);

describe.skipIf(lacks("etcd"))("the etcd client", { timeout: 60_000 }, () => {
  let etcd: EtcdServer;
  let client: EtcdClient;

  beforeAll(async () => {
    etcd = await startEtcd();
    client = createEtcdClient({ endpoints: [etcd.url] });
  });
  afterAll(async () => {
    client.close();
    await etcd.close();
  });

  it("writes, reads, compares and deletes", async () => {
    const { header } = await client.put({ key: key("kv/a"), value: key("1") });
    const guarded = {
      compare: [{ key: key("kv/a"), target: compareTargets.mod, modRevision: header!.revision }],
      success: [{ requestPut: { key: key("kv/a"), value: key("2"), prevKv: true } }],
      failure: [{ requestRange: { key: key("kv/a") } }],
    };
    const first = await client.txn(guarded);
    expect(first.succeeded).toBe(true);
    expect(first.responses[0]?.responsePut?.prevKv?.value.toString()).toBe("1");
    const second = await client.txn(guarded);
    expect(second.succeeded).toBe(false);
    expect(second.responses[0]?.responseRange?.kvs[0]).toMatchObject({ value: key("2"), version: 2 });
    expect((await client.deleteRange({ key: key("kv/a") })).deleted).toBe(1);
    expect((await client.range({ key: key("kv/a") })).count).toBe(0);
  });

  it("carries large values and many at a time", async () => {
    const value = Buffer.alloc(1_000_000, "x");
    await Promise.all([1, 2, 3, 4, 5].map((index) => client.put({ key: key(`large/${index}`), value })));
    const { kvs } = await client.range({ key: key("large/"), rangeEnd: key("large0") });
    expect(kvs.map((kv) => kv.value.length)).toEqual(Array(5).fill(1_000_000));
  });

  it("keeps a lease alive and shows its keys", async () => {
    const { id, ttl } = await client.leaseGrant(60);
    expect(ttl).toBe(60);
    await client.put({ key: key("leased"), lease: id });
    expect(await client.leaseKeepAlive(id)).toMatchObject({ id, ttl: 60 });
    expect((await client.leaseTimeToLive(id, true)).keys.map(String)).toEqual(["leased"]);
    await client.leaseRevoke(id);
    expect((await client.leaseKeepAlive(id)).ttl).toBe(0);
    expect((await client.range({ key: key("leased") })).count).toBe(0);
  });

  it("rejects with the server's code and text", async () => {
    await expect(client.put({ key: key("") })).rejects.toMatchObject({
      code: grpcStatus.invalidArgument,
      message: "etcdserver: key is not provided",
    });
    await expect(client.range({ key: key("a"), revision: 1e9 })).rejects.toMatchObject({
      code: grpcStatus.outOfRange,
      message: "etcdserver: mvcc: required revision is a future revision",
    });
    await expect(client.put({ key: key("big"), value: Buffer.alloc(3 << 20) })).rejects.toBeInstanceOf(RpcError);
  });

  it("gives up when the time is over", async () => {
    const silent = createServer();
    silent.listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as { port: number };
    const waiting = createEtcdClient({ endpoints: [`http://127.0.0.1:${port}`] });
    await expect(waiting.range({ key: key("a") }, { timeoutMs: 200 })).rejects.toMatchObject({
      code: grpcStatus.deadlineExceeded,
    });
    waiting.close();
    silent.close();
  });

  it("does not take what is no gRPC for an answer", async () => {
    const web = createEtcdClient({ endpoints: [`http://127.0.0.1:${await freePort()}`] });
    await expect(web.status()).rejects.toMatchObject({ code: grpcStatus.unavailable });
    web.close();
    await expect(web.status()).rejects.toMatchObject({ code: grpcStatus.canceled });
  });

  it("moves on to the endpoint that answers", async () => {
    const proxy = await TcpProxy.open(portOf(etcd.url));
    const dead = `http://127.0.0.1:${await freePort()}`;
    const failover = createEtcdClient({ endpoints: [dead, `http://127.0.0.1:${proxy.port}`, etcd.url] });
    // A write that never left may be sent to the next endpoint.
    await failover.put({ key: key("failover"), value: key("1") });
    await proxy.close();
    expect((await failover.range({ key: key("failover") })).kvs[0]?.value.toString()).toBe("1");
    failover.close();
  });

  it("speaks over a unix socket", async () => {
    const path = join(mkdtempSync(join(tmpdir(), "keelson-unix-")), "etcd.sock");
    const relay = createServer((socket) => {
      const upstream = connect(portOf(etcd.url), "127.0.0.1");
      socket.pipe(upstream).pipe(socket);
      socket.on("error", () => upstream.destroy());
      upstream.on("error", () => socket.destroy());
    });
    relay.listen(path);
    await once(relay, "listening");
    const local = createEtcdClient({ endpoints: [`unix://${path}`] });
    expect((await local.status()).version).toMatch(/^3\./);
    local.close();
    relay.close();
  });

  it("resumes a watch after lost connections without losing or repeating an event", async () => {
    const proxy = await TcpProxy.open(portOf(etcd.url));
    const watcher = createEtcdClient({ endpoints: [`http://127.0.0.1:${proxy.port}`] });
    const values: string[] = [];
    const total = 300;
    const done = new Promise<void>((resolve) => {
      watcher.watch(
        { key: key("resume") },
        {
          onCreated: () => void begin(),
          onEvents: (events: readonly Event[]) => {
            values.push(...events.map((event) => event.kv!.value.toString()));
            if (values.length >= total) resolve();
          },
          onEnd: (error) => values.push(`ended: ${error.message}`),
        },
      );
    });
    let begun = false;
    const begin = async (): Promise<void> => {
      if (begun) return;
      begun = true;
      for (let index = 0; index < total; index++) {
        await client.put({ key: key("resume"), value: key(String(index)) });
        if (index % 50 === 25) proxy.cut();
      }
    };
    await done;
    expect(values).toEqual(Array.from({ length: total }, (_, index) => String(index)));
    watcher.close();
    await proxy.close();
  });

  it("tells that a watch wants what is compacted", async () => {
    const { header } = await client.put({ key: key("compacted") });
    await client.put({ key: key("compacted") });
    await client.compact({ revision: header!.revision + 1 });
    const error = await new Promise<RpcError>((resolve) => {
      client.watch(
        { key: key("compacted"), startRevision: 1 },
        { onEvents: () => expect.fail("no event"), onEnd: resolve },
      );
    });
    expect(error).toMatchObject({
      code: grpcStatus.outOfRange,
      message: expect.stringContaining("has been compacted"),
    });
  });

  it("asks for progress", async () => {
    const { header } = await client.put({ key: key("progress") });
    const revision = await new Promise<number>((resolve) => {
      const watch = client.watch(
        { key: key("progress") },
        { onCreated: () => watch.requestProgress(), onEvents: () => {}, onProgress: resolve, onEnd: () => {} },
      );
    });
    expect(revision).toBeGreaterThanOrEqual(header!.revision);
  });
});

describe.skipIf(lacks("etcd"))("the etcd client over TLS", () => {
  it("trusts its authority only, and shows its certificate", async () => {
    const directory = mkdtempSync(join(tmpdir(), "keelson-tls-"));
    const openssl = (...args: string[]): void => void execFileSync("openssl", args, { cwd: directory, stdio: "pipe" });
    openssl(
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "ca.key",
      "-out",
      "ca.crt",
      "-subj",
      "/CN=ca",
      "-days",
      "2",
    );
    for (const name of ["server", "client"]) {
      openssl(
        "req",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-keyout",
        `${name}.key`,
        "-out",
        `${name}.csr`,
        "-subj",
        `/CN=${name}`,
        "-addext",
        "subjectAltName=IP:127.0.0.1",
      );
      openssl(
        "x509",
        "-req",
        "-in",
        `${name}.csr`,
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-CAcreateserial",
        "-copy_extensions",
        "copy",
        "-out",
        `${name}.crt`,
        "-days",
        "2",
      );
    }
    const read = (name: string): string => readFileSync(join(directory, name), "utf8");
    const port = await freePort();
    const url = `https://127.0.0.1:${port}`;
    const etcd = await startEtcd(
      [
        `--listen-client-urls=${url}`,
        `--advertise-client-urls=${url}`,
        `--cert-file=${join(directory, "server.crt")}`,
        `--key-file=${join(directory, "server.key")}`,
        `--trusted-ca-file=${join(directory, "ca.crt")}`,
        "--client-cert-auth",
      ],
      port,
    );
    const tls = { ca: read("ca.crt"), cert: read("client.crt"), key: read("client.key") };
    const trusted = createEtcdClient({ endpoints: [url], tls });
    await trusted.put({ key: key("tls"), value: key("1") });
    const nameless = createEtcdClient({ endpoints: [url], tls: { ca: tls.ca } });
    await expect(nameless.status()).rejects.toMatchObject({ code: grpcStatus.unavailable });
    const distrustful = createEtcdClient({ endpoints: [url], tls: { ...tls, ca: tls.cert } });
    await expect(distrustful.status()).rejects.toMatchObject({ code: grpcStatus.unavailable });
    for (const one of [trusted, nameless, distrustful]) one.close();
    await etcd.close();
  });
});

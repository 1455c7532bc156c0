import { createPublicKey } from "node:crypto";
import { lacks, startEtcd } from "@keelson/conformance";
import { createEtcdClient } from "@keelson/etcd-client";
import { Authority, createCaCertificate, exportPrivateKey, generateEcKey } from "@keelson/pki";
import { services } from "@keelson/protocol/etcd";
import { expect, it, onTestFinished } from "vitest";
import { etcdTls } from "../src/proxy/etcd-endpoint.ts";
import { EtcdUpstream } from "../src/proxy/etcd-upstream.ts";
import { proxyMethods } from "../src/proxy/proxy-methods.ts";
import type { StreamMethod } from "../src/server/rpc.ts";
import { bytes, runDatastore, text } from "./running-datastore.ts";

it("trusts any etcd under --skip-verify and none without, and says at the start which file is missing", async () => {
  const caKey = await generateEcKey();
  const key = await generateEcKey();
  const leaf = { commonName: "etcd", purposes: ["server"] as const, names: ["elsewhere"] };
  const authority = new Authority(createCaCertificate("etcd", caKey, Date.now()), caKey);
  const tls = { cert: authority.issue(leaf, createPublicKey(key), Date.now()), key: exportPrivateKey(key) };
  const etcd = await runDatastore({ listen: [{ url: "http://127.0.0.1:0" }, { url: "https://127.0.0.1:0", tls }] });
  const endpoint = etcd.datastore.addresses[1]!;
  await etcd.client.put({ key: bytes("a"), value: bytes("1") });
  const trusting = await runDatastore({ endpoint, databaseTls: { skipVerify: true } });
  expect(text((await trusting.client.range({ key: bytes("a") })).kvs[0]!.value)).toBe("1");
  const doubting = await runDatastore({ endpoint, databaseTls: {} });
  await expect(doubting.client.range({ key: bytes("a") })).rejects.toThrow();
  expect(() => etcdTls({ caFile: "/nowhere/ca.crt" })).toThrow("cannot read /nowhere/ca.crt");
});

it.skipIf(lacks("etcd"))(
  "keeps little of a snapshot for a client that does not read, and all of it arrives",
  async () => {
    const etcd = await startEtcd();
    onTestFinished(() => etcd.close());
    const direct = createEtcdClient({ endpoints: [etcd.url] });
    for (let index = 0; index < 24; index++) {
      await direct.put({ key: bytes(`large/${index}`), value: Buffer.alloc(1 << 20, index) });
    }
    direct.close();
    const upstream = new EtcdUpstream([etcd.url], undefined);
    onTestFinished(() => upstream.close());
    const path = services.maintenance.snapshot.path;
    const method = proxyMethods(upstream).find((found) => found.path === path) as StreamMethod;
    let pendingBytes = 0;
    let mostBytes = 0;
    let received = 0;
    await new Promise<void>((resolve, reject) => {
      const handler = method.open(
        {
          send(parts) {
            for (const part of parts) pendingBytes += part.length;
            mostBytes = Math.max(mostBytes, pendingBytes);
          },
          end: (error) => (error === undefined ? resolve() : reject(error)),
          get pendingBytes() {
            return pendingBytes;
          },
        },
        { authority: "", onAbandoned() {} },
      );
      handler.onMessage(services.maintenance.snapshot.request.encode({}));
      handler.onHalfClose();
      // A client that takes nothing until all of it could have come, and then what is there now and then.
      const startMs = performance.now();
      const reading = setInterval(() => {
        if (performance.now() - startMs < 500) return;
        received += pendingBytes;
        pendingBytes = 0;
        handler.onDrain?.();
      }, 5);
      onTestFinished(() => clearInterval(reading));
    });
    received += pendingBytes;
    expect(received).toBeGreaterThan(24 << 20);
    expect(mostBytes).toBeLessThan(8 << 20);
  },
);

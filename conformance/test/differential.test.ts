import type { EtcdClient } from "@keelson/etcd-client";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { runDifferential } from "../src/differential/differential.ts";
import { Session } from "../src/differential/session.ts";
import { type Backend, type EtcdServer, lacks, startAdapter, startBackend, startEtcd } from "../src/index.ts";

/** The same scripts on every machine; `npm run conformance` goes on from random seeds for as long as one likes. */
const seed = Number(process.env.KEELSON_SEED ?? 1);
const scripts = 40;
const timeoutMs = 180_000;

/** A second etcd for one test. */
async function anotherEtcd(): Promise<EtcdClient> {
  const other = await startEtcd();
  const client = Session.connect(other.url);
  onTestFinished(async () => {
    client.close();
    await other.close();
  });
  return client;
}

describe.skipIf(lacks("etcd"))("the differential test", () => {
  let etcd: EtcdServer;
  let reference: EtcdClient;

  beforeAll(async () => {
    etcd = await startEtcd();
    reference = Session.connect(etcd.url);
  });
  afterAll(async () => {
    reference.close();
    await etcd.close();
  });

  it("finds no difference between etcd and etcd", { timeout: timeoutMs }, async () => {
    const subject = await anotherEtcd();
    const result = await runDifferential({ reference, subject }, { seed, scripts: 8 });
    expect(result.difference).toBeUndefined();
    expect(result.steps).toBeGreaterThan(40);
  });

  it("shrinks a wrong answer to the steps that show it", { timeout: timeoutMs }, async () => {
    const subject = await anotherEtcd();
    // A server that forgets the previous value of a key.
    const forgetful: EtcdClient = Object.create(subject, {
      put: {
        value: async (request: Parameters<EtcdClient["put"]>[0]) => ({
          ...(await subject.put(request)),
          prevKv: undefined,
        }),
      },
      call: { value: subject.call.bind(subject) },
      stream: { value: subject.stream.bind(subject) },
      range: { value: subject.range.bind(subject) },
      deleteRange: { value: subject.deleteRange.bind(subject) },
      txn: { value: subject.txn.bind(subject) },
      leaseRevoke: { value: subject.leaseRevoke.bind(subject) },
      leaseGrant: { value: subject.leaseGrant.bind(subject) },
      leaseKeepAlive: { value: subject.leaseKeepAlive.bind(subject) },
      leaseTimeToLive: { value: subject.leaseTimeToLive.bind(subject) },
    });
    const result = await runDifferential({ reference, subject: forgetful }, { seed: 7, scripts: 100, maxSteps: 10 });
    const steps = result.difference?.match(/^ {2}\d+\. .*$/gm);
    expect(steps).toHaveLength(2);
    expect(steps?.at(-1)).toMatch(/put .*prevKv: true/);
  });

  const needs = {
    sqlite: [],
    postgres: ["postgres", "initdb"],
    mariadb: ["mariadbd", "mariadb-install-db"],
  } as const satisfies Record<Backend, readonly Parameters<typeof lacks>[number][]>;

  for (const backend of ["sqlite", "postgres", "mariadb"] as const) {
    it.skipIf(lacks(...needs[backend]))(
      `finds no difference between etcd and the adapter on ${backend}`,
      { timeout: timeoutMs },
      async () => {
        const store = await startBackend(backend);
        const adapter = await startAdapter(store.freshEndpoint());
        const subject = Session.connect(adapter.url);
        onTestFinished(async () => {
          subject.close();
          await adapter.process.stop();
          await store.close();
        });
        const result = await runDifferential({ reference, subject }, { seed, scripts });
        console.log(`${backend}: seed ${seed}, ${result.scripts} scripts, ${result.steps} requests`);
        expect(result.difference, `seed ${seed}`).toBeUndefined();
      },
    );
  }
});

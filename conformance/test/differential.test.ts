import type { EtcdClient } from "@keelson/etcd-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { runDifferential } from "../src/differential/differential.ts";
import { Session } from "../src/differential/session.ts";
import { type Backend, type EtcdServer, lacks, startAdapter, startBackend, startEtcd } from "../src/index.ts";

/** Another seed each day, the same one all day, printed with every difference. */
const seed = Number(process.env.KEELSON_SEED ?? Math.floor(Date.now() / 86_400_000));
const budgetMs = 6_000;

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

  it("finds no difference between etcd and etcd", async () => {
    const other = await startEtcd();
    const subject = Session.connect(other.url);
    const result = await runDifferential({ reference, subject }, { seed, scripts: 8 });
    expect(result.difference).toBeUndefined();
    expect(result.steps).toBeGreaterThan(40);
    subject.close();
    await other.close();
  });

  it("shrinks a wrong answer to the steps that show it", async () => {
    const other = await startEtcd();
    const subject = Session.connect(other.url);
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
    subject.close();
    await other.close();
  });

  const needs = {
    sqlite: [],
    postgres: ["postgres", "initdb"],
    mariadb: ["mariadbd", "mariadb-install-db"],
  } as const satisfies Record<Backend, readonly Parameters<typeof lacks>[number][]>;

  for (const backend of ["sqlite", "postgres", "mariadb"] as const) {
    it.skipIf(lacks(...needs[backend]))(`finds no difference between etcd and the adapter on ${backend}`, async () => {
      const store = await startBackend(backend);
      const adapter = await startAdapter(store.freshEndpoint());
      const subject = Session.connect(adapter.url);
      const until = performance.now() + budgetMs;
      const result = await runDifferential({ reference, subject }, { seed, scripts: 1_000, until });
      console.log(`${backend}: seed ${seed}, ${result.scripts} scripts, ${result.steps} requests`);
      expect(result.difference, `seed ${seed}`).toBeUndefined();
      subject.close();
      await adapter.process.stop();
      await store.close();
    });
  }
});

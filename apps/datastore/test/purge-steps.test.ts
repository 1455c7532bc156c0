import { join } from "node:path";
import { silentLogger, systemClock } from "@keelson/service";
import { expect, it, onTestFinished, vi } from "vitest";
import { Core } from "../src/core.ts";
import { PurgePlan } from "../src/engine/purge-plan.ts";
import { MvccStore } from "../src/engine/store.ts";
import { evaluatePut } from "../src/engine/txn-evaluate.ts";
import { SqliteLog } from "../src/log/sqlite.ts";
import { temporaryFolder } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

it("a plan hands out no more rows than it is asked for, each once, and all of them in the end", () => {
  const store = new MvccStore();
  const plan = new PurgePlan(store);
  for (let at = 0; at < 1_000; at++) store.sealTransaction([store.stage(`k${at % 10}`, "put", undefined)]);
  store.commit(store.head);
  store.compacted = store.head;
  const ids: number[] = [];
  while (plan.pending) {
    const step = plan.take(64);
    expect(step.versions.length + step.orphans.length).toBeLessThanOrEqual(64);
    ids.push(...step.versions.map(({ version }) => version.id));
    plan.forget(step);
  }
  expect(new Set(ids).size).toBe(ids.length);
  expect(ids).toHaveLength(990);
});

it("writers get their turn between bounded steps of a compaction", async () => {
  const core = new Core({
    log: new SqliteLog({ path: join(await temporaryFolder(), "state.db"), log: silentLogger }),
    clock: systemClock,
    logger: silentLogger,
    cacheBytes: 1 << 20,
    compaction: { retentionMs: 0, minRetain: 0, maxRetain: 0 },
    progressNotifyIntervalMs: 60_000,
  });
  await core.start();
  onTestFinished(() => core.stop());
  const put = (key: string): Promise<number> =>
    core.write((scope) => {
      const op = { value: Buffer.from("v"), lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
      evaluatePut(scope, { kind: "put", key, ...op });
    });
  await Promise.all(Array.from({ length: 10_000 }, (_, at) => put(`k${at % 10}`)));

  const batches: { ops: number; purged: number }[] = [];
  core.onBatch = ({ ops, purged }) => batches.push({ ops, purged });
  await core.write((scope) => core.compact(scope, core.store.head));
  let isOver = false;
  const writing = (async () => {
    while (!isOver) await put("w");
  })();
  await core.queue.purged();
  isOver = true;
  await writing;

  const steps = batches.filter(({ purged }) => purged > 0);
  expect(steps.reduce((sum, { purged }) => sum + purged, 0)).toBe(9_990);
  // A step is 200 rows or, beside many writes, twice theirs.
  expect(Math.max(...steps.map(({ purged }) => purged))).toBeLessThanOrEqual(1_000);
  expect(steps.length).toBeGreaterThanOrEqual(10);
  expect(steps.filter(({ ops }) => ops > 0).length).toBeGreaterThan(1);
});

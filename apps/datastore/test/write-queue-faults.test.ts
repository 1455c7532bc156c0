import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { silentLogger, systemClock } from "@keelson/service";
import { expect, it, onTestFinished, vi } from "vitest";
import { Core } from "../src/core.ts";
import { evaluatePut } from "../src/engine/txn-evaluate.ts";
import { type AppendLog, type LogBatch, LogUnavailableError } from "../src/log/append-log.ts";
import { SqliteLog } from "../src/log/sqlite.ts";
import { temporaryFolder } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

type Fault = "none" | "refuse" | "commit, then lose the answer" | "hang";

/** A SQLite log whose commits can be made to fail. */
class FaultyLog extends SqliteLog {
  fault: Fault = "none";
  readonly batches: LogBatch[] = [];

  override acquire(): ReturnType<AppendLog["acquire"]> {
    const turn = super.acquire();
    return turn instanceof Promise ? turn.then((got) => this.#wrap(got)) : this.#wrap(turn);
  }

  #wrap(turn: Awaited<ReturnType<AppendLog["acquire"]>>): Awaited<ReturnType<AppendLog["acquire"]>> {
    const commit = async (batch: LogBatch): Promise<void> => {
      this.batches.push(batch);
      if (this.fault === "hang") await new Promise(() => {});
      if (this.fault !== "refuse") await turn.commit(batch);
      if (this.fault === "none") return;
      const [first] = batch.rows;
      if (first !== undefined) this.distrust(first.id - 1);
      throw new LogUnavailableError("injected", new Error(this.fault));
    };
    return { commit, release: () => turn.release() };
  }
}

async function start() {
  const log = new FaultyLog({ path: join(await temporaryFolder(), "state.db"), log: silentLogger });
  const core = new Core({
    log,
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
  const keys = (): string[] => {
    const found: string[] = [];
    core.store.index.scan({ start: "", end: undefined }, (entry) => {
      if (entry.at(core.store.committed) !== undefined) found.push(entry.key);
      return true;
    });
    return found;
  };
  return { log, core, put, keys };
}

/** How long a condition may take on a machine that is busy with something else. */
const patiently = { timeout: 15_000 };

it("answers Unavailable, forgets the write and goes on when a commit fails", async () => {
  const { log, core, put, keys } = await start();
  await put("a");
  log.fault = "refuse";
  await expect(put("b")).rejects.toMatchObject({ code: 14 });
  await expect(put("c")).rejects.toMatchObject({ code: 14 });
  expect(core.queue.failure).toBeDefined();
  expect(keys()).toEqual(["a"]);
  log.fault = "none";
  await expect.poll(() => put("d").catch(() => 0), patiently).toBe(3);
  expect(keys()).toEqual(["a", "d"]);
  expect(core.queue.failure).toBeUndefined();
});

it("calls itself well again only when something was written, and takes that away", async () => {
  const { log, core, put } = await start();
  const changes: boolean[] = [];
  core.queue.onHealthChange(() => changes.push(core.queue.failure === undefined));
  log.fault = "refuse";
  await expect(put("a")).rejects.toMatchObject({ code: 14 });
  const before = log.batches.length;
  // It tries by itself, with as much as an object needs.
  await expect.poll(() => log.batches.length, patiently).toBeGreaterThan(before + 1);
  expect(log.batches.at(-1)!.settings.get("write_probe")?.length).toBeGreaterThan(30_000);
  expect(changes).toEqual([false]);
  log.fault = "none";
  await expect.poll(() => changes, patiently).toEqual([false, true]);
  expect(await put("b")).toBe(2);
  expect(log.batches.at(-1)!.settings).toEqual(new Map([["write_probe", undefined]]));
  await put("c");
  expect(log.batches.at(-1)!.settings).toEqual(new Map());
});

it("takes back every batch that was evaluated on top of the failed one", async () => {
  const { log, put, keys, core } = await start();
  await put("base");
  log.fault = "refuse";
  const writes = Array.from({ length: 50 }, async (_, at) => {
    if (at % 10 === 0) await delay(at / 10);
    return put(`key-${at}`);
  });
  const results = await Promise.allSettled(writes);
  expect(results.every(({ status }) => status === "rejected")).toBe(true);
  expect(keys()).toEqual(["base"]);
  expect(core.store.stagedCount).toBe(0);
  expect(core.store.index.countLive({ start: "", end: undefined })).toBe(1);
});

it("finds a write again whose commit was durable although its answer was lost", async () => {
  const { log, put, keys, core } = await start();
  await put("a");
  log.fault = "commit, then lose the answer";
  await expect(put("b")).rejects.toMatchObject({ code: 14 });
  log.fault = "none";
  await expect.poll(() => put("c").catch(() => 0), patiently).toBe(4);
  expect(keys()).toEqual(["a", "b", "c"]);
  expect(core.hub.delivered).toBe(4);
});

it("gives a request up that waits for a hanging commit, and still serves reads", { timeout: 15_000 }, async () => {
  const { log, put, keys } = await start();
  await put("a");
  log.fault = "hang";
  const startedMs = performance.now();
  await expect(put("b")).rejects.toMatchObject({ code: 14, message: "etcdserver: request timed out" });
  expect(performance.now() - startedMs).toBeLessThan(9_000);
  expect(keys()).toEqual(["a"]);
});

import { createHash, randomBytes } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ManualClock, resolveOptions, silentLogger } from "@keelson/service";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { EtcdClusterApi } from "../../src/etcd/cluster-api.ts";
import { etcdOptions } from "../../src/etcd/options.ts";
import { ServerEtcd } from "../../src/etcd/server-etcd.ts";
import { parseSchedule } from "../../src/etcd/snapshots/schedule.ts";
import type { Snapshot } from "../../src/etcd/snapshots/snapshot-name.ts";
import { SnapshotService } from "../../src/etcd/snapshots/snapshot-service.ts";

let directory: string;
let clock: ManualClock;
let inventory: readonly Snapshot[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-snapshots-"));
  clock = new ManualClock();
  inventory = [];
});
afterEach(() => rm(directory, { recursive: true }));

/** A cluster whose snapshots are random pages and the digest that etcd appends, cut short on request. */
function service(options: { cutBytes?: number; schedule?: string; isLearner?: boolean } = {}): SnapshotService {
  const cluster = {
    status: async () => ({
      memberId: 1n,
      leaderId: 1n,
      isLearner: options.isLearner ?? false,
      raftAppliedIndex: 1,
      dbSizeBytes: 1,
      version: "3.4.23",
    }),
    async *snapshot() {
      const pages = randomBytes(4_096);
      const whole = Buffer.concat([pages, createHash("sha256").update(pages).digest()]);
      yield whole.subarray(0, 1_000);
      yield whole.subarray(1_000, whole.length - (options.cutBytes ?? 0));
    },
  } as Partial<EtcdClusterApi> as EtcdClusterApi;
  const onChange = async (snapshots: readonly Snapshot[]): Promise<void> => {
    inventory = snapshots;
  };
  return new SnapshotService(
    { directory, nodeName: "server-1", schedule: options.schedule ?? "", retention: 2 },
    { log: silentLogger, clock, cluster, onChange },
  );
}

test("retention keeps the newest scheduled ones and all that have another name", async () => {
  const snapshots = service();
  await snapshots.save({ base: "before-upgrade" });
  for (let count = 0; count < 4; count++) {
    clock.advance(1_000);
    await snapshots.save();
  }
  expect(await snapshots.prune()).toHaveLength(2);
  expect((await snapshots.list()).map(({ name }) => name)).toEqual([
    expect.stringMatching(/^etcd-snapshot-server-1-\d+$/),
    expect.stringMatching(/^etcd-snapshot-server-1-\d+$/),
    expect.stringMatching(/^before-upgrade-server-1-\d+$/),
  ]);
  expect(inventory).toHaveLength(3);
});

test("snapshots are taken when the schedule says so, and the oldest go", async () => {
  const snapshots = service({ schedule: "0 * * * *" });
  await snapshots.start();
  const taken: string[][] = [];
  for (let hour = 0; hour < 4; hour++) {
    clock.advance(59 * 60_000);
    expect(inventory.map(({ name }) => name)).toEqual(taken.at(-1) ?? []);
    clock.advance(60_000);
    await expect.poll(() => inventory[0]?.createdAtMs).toBe(clock.now());
    await expect.poll(() => inventory.length).toBe(Math.min(2, hour + 1));
    taken.push(inventory.map(({ name }) => name));
  }
  expect(new Set(taken.flat()).size).toBe(4);
  await snapshots.stop();
  clock.advance(24 * 3_600_000);
  expect(inventory.map(({ name }) => name)).toEqual(taken.at(-1));
});

test("a period is a schedule too, as K3s has it", async () => {
  const snapshots = service({ schedule: "@every 1h30m" });
  await snapshots.start();
  clock.advance(89 * 60_000);
  expect(inventory).toEqual([]);
  clock.advance(60_000);
  await expect.poll(() => inventory.length).toBe(1);
  await snapshots.stop();
});

test("schedules are K3s's, in a zone if one is named", async () => {
  const start = Date.parse("2026-01-01T01:01:00Z");
  const next = async (text: string) => new Date((await parseSchedule(text))(start)).toISOString();
  expect(await next("TZ=UTC 0 */12 * * *")).toBe("2026-01-01T12:00:00.000Z");
  expect(await next("CRON_TZ=Asia/Tokyo 0 4 * * SUN")).toBe("2026-01-03T19:00:00.000Z");
  expect(await next("TZ=UTC @midnight")).toBe("2026-01-02T00:00:00.000Z");
  expect(await next("@every 0s")).toBe("2026-01-01T01:01:01.000Z");
});

test.each(["foo", "* * * * * *", "61 * * * *", "@every soon", "@reboot", "TZ=No/Where 0 4 * * *", "0 0 31 2 *"])(
  "the schedule %j is refused at the start",
  async (schedule) => {
    await expect(service({ schedule }).prepare()).rejects.toMatchObject({
      code: "option/invalid",
      message: expect.stringContaining("--etcd-snapshot-schedule-cron"),
      hint: expect.stringContaining("@every 5h"),
    });
  },
);

test("a server does not start etcd first to find its schedule wrong", async () => {
  const flags = new Map([["etcd-snapshot-schedule-cron", ["foo"]]]);
  const values = resolveOptions(etcdOptions, [{ from: "the command line", values: flags }]);
  const etcd = new ServerEtcd({ values, dataDir: directory, nodeName: "server-1", address: "127.0.0.1" });
  await expect(etcd.start()).rejects.toMatchObject({ code: "option/invalid" });
  expect(await readdir(directory)).toEqual([]);
});

test("a learner takes none on schedule: it may be far behind", async () => {
  const snapshots = service({ schedule: "0 * * * *", isLearner: true });
  await snapshots.start();
  clock.advance(48 * 3_600_000);
  await snapshots.stop();
  expect(await snapshots.list()).toEqual([]);
});

test("a snapshot that ends early is refused and leaves no file", async () => {
  const snapshots = service({ cutBytes: 100 });
  await expect(snapshots.save()).rejects.toMatchObject({ code: "snapshot/corrupt" });
  expect(await snapshots.list()).toEqual([]);
});

test("a name that is a path is refused", async () => {
  await expect(service().save({ base: "../../etc/x" })).rejects.toMatchObject({ code: "snapshot/bad-name" });
  await expect(service().delete("../snapshot-server-1-1700000000")).rejects.toMatchObject({
    code: "snapshot/not-found",
  });
});

test("deleting is by name, and the inventory follows", async () => {
  const snapshots = service();
  const [saved] = await snapshots.save({ compress: true });
  await snapshots.delete(saved!.name);
  expect(inventory).toEqual([]);
});

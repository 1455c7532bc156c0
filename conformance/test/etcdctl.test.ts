import { execFile } from "node:child_process";
import { mkdtemp, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { commands } from "../src/etcdctl/commands.ts";
import { Etcdctl } from "../src/etcdctl/run.ts";
import {
  type AdapterServer,
  type BackendServer,
  type EtcdServer,
  lacks,
  requireBinary,
  startAdapter,
  startBackend,
  startEtcd,
} from "../src/index.ts";

const exec = promisify(execFile);

describe.skipIf(lacks("etcd", "etcdctl"))(
  "etcdctl prints of the adapter what it prints of etcd",
  { timeout: 60_000 },
  () => {
    let etcd: EtcdServer;
    let store: BackendServer;
    let adapter: AdapterServer;
    let reference: Etcdctl;
    let subject: Etcdctl;

    beforeAll(async () => {
      etcd = await startEtcd();
      store = await startBackend("sqlite");
      adapter = await startAdapter(store.freshEndpoint());
      reference = new Etcdctl(etcd.url);
      subject = new Etcdctl(adapter.url);
    });
    afterAll(async () => {
      await adapter.process.stop();
      await store.close();
      await etcd.close();
    });

    it.each(commands.map((command) => [command.args.join(" "), command] as const))("%s", async (_, command) => {
      const [expected, actual] = await Promise.all([reference.run(command), subject.run(command)]);
      expect(actual).toEqual(expected);
    });

    it("snapshot save", async () => {
      const path = join(await mkdtemp(join(tmpdir(), "keelson-snapshot-")), "snapshot.db");
      await exec(requireBinary("etcdctl"), ["--endpoints", adapter.url, "snapshot", "save", path], {
        env: { ...process.env, ETCDCTL_API: "3" },
      });
      expect((await stat(path)).size).toBeGreaterThan(0);
    });
  },
);

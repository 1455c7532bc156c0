import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { etcdLayout } from "../../src/etcd/layout.ts";
import { setDataAside } from "../../src/etcd/member-files.ts";

test("data that is set aside twice within a second is kept twice, and of many the newest five", async () => {
  const dataDir = await mkdtemp(join(tmpdir(), "keelson-etcd-files-"));
  onTestFinished(() => rm(dataDir, { recursive: true }));
  const layout = etcdLayout(dataDir);
  expect(await setDataAside(layout, "etcd-backup", 5_000)).toBeUndefined();
  for (let at = 0; at < 7; at++) {
    await mkdir(join(layout.data, `member-${at}`), { recursive: true });
    expect(await setDataAside(layout, "etcd-backup", 5_999)).toBe(join(layout.db, `etcd-backup-${5 + at}`));
  }
  const kept = await readdir(layout.db);
  expect(kept).toHaveLength(5);
  expect(await readdir(join(layout.db, kept.sort().at(-1)!))).toHaveLength(1);
});

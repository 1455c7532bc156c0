import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  expiredSnapshots,
  formatSnapshotName,
  isSnapshotBase,
  parseSnapshotName,
  type Snapshot,
} from "../../src/etcd/snapshots/snapshot-name.ts";
import { unzipFile, zipFile } from "../../src/etcd/snapshots/zip-file.ts";

function snapshot(base: string, createdAtMs: number): Snapshot {
  const name = formatSnapshotName({ base, nodeName: "server-1", createdAtMs, compressed: false });
  return { name, nodeName: "server-1", location: `file:///${name}`, sizeBytes: 1, createdAtMs, compressed: false };
}

describe("names", () => {
  test("are K3s's and read back", () => {
    const name = formatSnapshotName({
      base: "etcd-snapshot",
      nodeName: "server-1",
      createdAtMs: 1_700_000_000_999,
      compressed: true,
    });
    expect(name).toBe("etcd-snapshot-server-1-1700000000.zip");
    expect(parseSnapshotName(name, "server-1")).toEqual({
      base: "etcd-snapshot",
      nodeName: "server-1",
      createdAtMs: 1_700_000_000_000,
      compressed: true,
    });
    expect(parseSnapshotName("notes.txt", "server-1")).toBeUndefined();
  });

  test.each(["../x", "a/b", "", "-rf", "a b"])("%j is not a name", (text) => {
    expect(isSnapshotBase(text)).toBe(false);
  });
});

describe("retention", () => {
  const at = (minute: number): number => 1_700_000_000_000 + minute * 60_000;
  const all = [snapshot("etcd-snapshot", at(2)), snapshot("mine", at(0)), snapshot("etcd-snapshot", at(1))];

  test("gives up the oldest of that name only", () => {
    expect(expiredSnapshots(all, "etcd-snapshot", 1)).toEqual([all[2]]);
    expect(expiredSnapshots(all, "etcd-snapshot", 5)).toEqual([]);
  });

  test("of zero keeps everything", () => {
    expect(expiredSnapshots(all, "etcd-snapshot", 0)).toEqual([]);
  });
});

describe("compressed snapshots", () => {
  let directory: string;
  const content = Buffer.concat([randomBytes(100_000), Buffer.alloc(300_000)]);

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-zip-"));
    await writeFile(join(directory, "plain"), content);
    await zipFile(join(directory, "plain"), join(directory, "plain.zip"), "plain", new Date());
  });
  afterAll(() => rm(directory, { recursive: true }));

  test("come back as they were", async () => {
    await unzipFile(join(directory, "plain.zip"), join(directory, "back"));
    expect(await readFile(join(directory, "back"))).toEqual(content);
    expect((await readFile(join(directory, "plain.zip"))).length).toBeLessThan(110_000);
  });

  test("are archives that other tools read", () => {
    const script =
      "import sys,zipfile; z=zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; print(z.namelist())";
    const python = execFileSync("python3", ["-c", script, join(directory, "plain.zip")], { encoding: "utf8" });
    expect(python.trim()).toBe("['plain']");
  });

  test("that were cut are refused", async () => {
    const cut = join(directory, "cut.zip");
    await writeFile(cut, await readFile(join(directory, "plain.zip")));
    await truncate(cut, 50_000);
    await expect(unzipFile(cut, join(directory, "never"))).rejects.toMatchObject({ code: "snapshot/corrupt" });
  });
});

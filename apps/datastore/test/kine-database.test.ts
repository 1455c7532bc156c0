import { createHash } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { gunzipSync } from "node:zlib";
import { describe, expect, it, vi } from "vitest";
import { bytes, runDatastore, temporaryFolder } from "./running-datastore.ts";

// Seconds of work that a busy machine may stretch.
vi.setConfig({ testTimeout: 60_000 });

const vectors = join(import.meta.dirname, "../../../conformance/vectors");

interface Expected {
  database: { maxId: number; compactRevision: number };
  answers: {
    name: string;
    request?: {
      key: string;
      range_end: string;
      revision: number;
      limit: number;
      count_only: boolean;
      keys_only: boolean;
    };
    response?: {
      count: number;
      more?: boolean;
      kvs: { key: string; create_revision: number; mod_revision: number; lease: number; value_sha256: string }[];
    };
  }[];
}

async function openCopy(name: "kine-state" | "kine-compacted") {
  const path = join(await temporaryFolder(), "state.db");
  if (name === "kine-state") await copyFile(join(vectors, "kine-state.db"), path);
  else await writeFile(path, gunzipSync(await readFile(join(vectors, "kine-compacted.db.gz"))));
  const expected = JSON.parse(await readFile(join(vectors, `${name}.expected.json`), "utf8")) as Expected;
  return { path, expected, running: await runDatastore({ path }) };
}

describe.each(["kine-state", "kine-compacted"] as const)("a database of stock kine: %s", (name) => {
  it("answers every range as kine did, in key order and with exact counts", async () => {
    const { expected, running } = await openCopy(name);
    let compared = 0;
    for (const { request, response, name: title } of expected.answers) {
      // What kine gets wrong (see the vectors' README): pages in row order, revisions that are compacted or in the future.
      if (request === undefined || response?.kvs === undefined || "events" in response) continue;
      if (!title.startsWith("range") && !title.startsWith("count")) continue;
      if (request.limit > 0 && !request.count_only) continue;
      const { revision } = request;
      if (revision > expected.database.maxId || (revision > 0 && revision < expected.database.compactRevision))
        continue;
      const answer = await running.client.range({
        key: bytes(request.key),
        rangeEnd: bytes(request.range_end),
        revision,
        countOnly: request.count_only,
      });
      const shown = answer.kvs.map((kv) => ({
        key: kv.key.toString("utf8"),
        create: kv.createRevision,
        mod: kv.modRevision,
        sha256: createHash("sha256").update(kv.value).digest("hex"),
      }));
      const wanted = response.kvs
        .map((kv) => ({ key: kv.key, create: kv.create_revision, mod: kv.mod_revision, sha256: kv.value_sha256 }))
        .sort((a, b) => (a.key < b.key ? -1 : 1));
      expect(answer.header?.revision, title).toBe(expected.database.maxId);
      expect(shown, title).toEqual(wanted);
      expect(answer.count, title).toBe(response.count);
      compared++;
    }
    expect(compared).toBeGreaterThan(10);
  });

  it("continues at the next revision and hands back what kine understands", async () => {
    const { expected, running, path } = await openCopy(name);
    const key = bytes("/registry/configmaps/vec-ns-1/cm-3");
    const [before] = (await running.client.range({ key })).kvs;
    const put = await running.client.put({ key, value: bytes("changed") });
    expect(put.header?.revision).toBe(expected.database.maxId + 1);
    await running.client.deleteRange({ key });
    await running.stop();

    const db = new DatabaseSync(path, { readOnly: true });
    const columns = "id, name, created, deleted, create_revision, prev_revision, lease, value, old_value";
    const rows = db.prepare(`SELECT ${columns} FROM kine WHERE id > ? ORDER BY id`).all(expected.database.maxId);
    const changed = expected.database.maxId + 1;
    expect(rows).toMatchObject([
      {
        id: changed,
        created: 0,
        deleted: 0,
        create_revision: before!.createRevision,
        prev_revision: before!.modRevision,
      },
      { id: changed + 1, created: 0, deleted: 1, create_revision: 0, prev_revision: changed, value: null },
    ]);
    expect(Buffer.from(rows[0]!.old_value as Uint8Array).equals(before!.value)).toBe(true);
    expect(Buffer.from(rows[1]!.old_value as Uint8Array).toString()).toBe("changed");
    const unique = db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'kine_name_prev_revision_uindex'").get();
    expect(unique).toBeDefined();
    db.close();
  });
});

it("gives rows of kine their versions, and keeps them over a restart", async () => {
  const { running, path } = await openCopy("kine-state");
  const key = bytes("/registry/configmaps/vec-ns-1/cm-1");
  const version = (await running.client.range({ key })).kvs[0]!.version;
  expect(version).toBeGreaterThan(1);
  await running.stop();
  const again = await runDatastore({ path });
  expect((await again.client.range({ key })).kvs[0]!.version).toBe(version);
});

it("says in one sentence that another process owns the file", async () => {
  const { path } = await openCopy("kine-state");
  await expect(runDatastore({ path })).rejects.toThrow(new RegExp(`process ${process.pid} has the SQLite database`));
});

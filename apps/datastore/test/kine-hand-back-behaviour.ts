import type { DatabaseServer } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createDatastore } from "../src/index.ts";
import type { SqlFlavour } from "./shared-log-behaviour.ts";

type Row = (string | null)[];

const headRevision = "(SELECT MAX(id) FROM kine)";
const compactRevision = "(SELECT MAX(prev_revision) FROM kine WHERE name = 'compact_rev_key')";
const inRegistry = "name >= '/registry/' AND name < '/registry0'";

/** What kine asks of its table, in the shapes of its statements; `revision` 0 means now. */
const kine = {
  list: (revision = 0) => `
    SELECT ${headRevision}, ${compactRevision}, kv.name, kv.id, kv.create_revision, kv.lease, kv.value
    FROM kine kv JOIN (
      SELECT MAX(id) AS id FROM kine WHERE ${inRegistry} ${revision > 0 ? `AND id <= ${revision}` : ""} GROUP BY name
    ) newest ON newest.id = kv.id
    WHERE kv.deleted = 0 ORDER BY kv.name`,
  after: (revision: number) => `
    SELECT id, name, created, deleted, value, old_value FROM kine WHERE id > ${revision} ORDER BY id`,
  insert: (name: string, createRevision: number, previousRevision: number, value: string) => `
    INSERT INTO kine (name, created, deleted, create_revision, prev_revision, lease, value, old_value)
    VALUES ('${name}', ${createRevision === 0 ? 1 : 0}, 0, ${createRevision}, ${previousRevision}, 0, '${value}', NULL)`,
  /** Everything superseded at or below the revision, and its tombstones. */
  compact: (revision: number) => [
    `DELETE FROM kine WHERE id IN (SELECT id FROM (
      SELECT prev_revision AS id FROM kine WHERE name <> 'compact_rev_key' AND prev_revision <> 0 AND id <= ${revision}
      UNION SELECT id FROM kine WHERE deleted <> 0 AND id <= ${revision}) gone)`,
    `UPDATE kine SET prev_revision = ${revision} WHERE name = 'compact_rev_key'`,
  ],
};

/** Keelson on kine's table, then kine's statements on what Keelson left, then Keelson again. */
export function describeKineHandBack(flavour: SqlFlavour): void {
  const database = "kubernetes";
  let server: DatabaseServer;

  beforeAll(async () => {
    server = await flavour.start();
  }, 60_000);
  afterAll(async () => {
    await server?.close();
  });

  const admin = (sql: string): Promise<Row[]> => flavour.admin(server, database, sql);
  /** Runs a Keelson on the database for as long as `work` takes. */
  const withKeelson = async <T>(work: (client: EtcdClient) => Promise<T>): Promise<T> => {
    const endpoint = server.endpoint(database);
    const datastore = createDatastore({ endpoint, listen: [{ url: "http://127.0.0.1:0" }] });
    await datastore.start();
    const client = createEtcdClient({ endpoints: [datastore.addresses[0]!] });
    try {
      return await work(client);
    } finally {
      client.close();
      await datastore.stop();
    }
  };
  const put = async (client: EtcdClient, key: string, value: string): Promise<number> =>
    (await client.put({ key: Buffer.from(key), value: Buffer.from(value) })).header!.revision;
  const registry = { key: Buffer.from("/registry/"), rangeEnd: Buffer.from("/registry0") };
  /** Keys, revisions and values as a client sees them, in the columns of kine's list. */
  const seen = async (client: EtcdClient, revision = 0): Promise<Row[]> =>
    (await client.range({ ...registry, revision })).kvs.map((kv) => [
      String(kv.key),
      String(kv.modRevision),
      // kine writes 0 where a row creates its key.
      String(kv.createRevision === kv.modRevision ? 0 : kv.createRevision),
      String(kv.value),
    ]);
  const listed = (rows: Row[]): Row[] =>
    rows.map(([, , name, id, createRevision, , value]) => [name!, id!, createRevision!, value!]);

  describe("kine's table, through Keelson and back", () => {
    it("shows kine's own statements exactly what clients of Keelson saw, and takes kine's writes", async () => {
      // Once for the database itself; kine's tables take the place of ours.
      await withKeelson(async () => {});
      await admin("DROP TABLE kine");
      for (const table of ["meta", "lease", "sequencer", "member"]) await admin(`DROP TABLE keelson_${table}`);
      for (const statement of flavour.newKine) await admin(statement);
      await admin(kine.insert("compact_rev_key", 0, 0, ""));
      await admin(kine.insert("/registry/a", 0, 0, "a1"));
      await admin(kine.insert("/registry/z", 0, 0, "z1"));
      await admin(kine.insert("/registry/a", 2, 2, "a2"));

      const left = await withKeelson(async (client) => {
        expect(await seen(client)).toEqual([
          ["/registry/a", "4", "2", "a2"],
          ["/registry/z", "3", "0", "z1"],
        ]);
        await put(client, "/registry/a", "a3");
        // kine's own table in MySQL takes this for the key above; ours does not.
        await put(client, "/registry/A", "upper");
        await put(client, "/registry/b", "b1");
        await client.deleteRange({ key: Buffer.from("/registry/b") });
        const middle = await put(client, "/registry/b", "b2");
        const { id } = await client.leaseGrant(600);
        await client.put({ key: Buffer.from("/registry/leased"), value: Buffer.from("l"), lease: id });
        await client.txn({
          success: ["c", "d"].map((name) => ({
            requestPut: { key: Buffer.from(`/registry/${name}`), value: Buffer.from(name) },
          })),
        });
        await client.deleteRange({ key: Buffer.from("/registry/d") });
        const { header } = await client.range(registry);
        return { middle, atMiddle: await seen(client, middle), now: await seen(client), head: header!.revision };
      });

      const current = await admin(kine.list());
      expect(current[0]!.slice(0, 2)).toEqual([String(left.head), "0"]);
      const keysOfTwo = new Set(["/registry/c"]);
      // The two keys of one transaction share a revision for clients; to kine they are two rows.
      const alone = (rows: Row[]): Row[] => rows.filter(([name]) => !keysOfTwo.has(name!));
      expect(alone(listed(current))).toEqual(alone(left.now));
      expect(current.map(([, , name]) => name)).toEqual(left.now.map(([name]) => name));
      expect(current.find(([, , name]) => name === "/registry/leased")![5]).toBe("600");
      expect(listed(await admin(kine.list(left.middle)))).toEqual(left.atMiddle);

      // A watch of kine: no hole in the ids, each event with the value before it.
      const events = await admin(kine.after(4));
      expect(events.map(([id]) => Number(id))).toEqual(events.map((_, at) => 5 + at));
      expect(events.map(([, name, created, deleted, , old]) => [name, created, deleted, old])).toEqual([
        ["/registry/a", "0", "0", "a2"],
        ["/registry/A", "1", "0", null],
        ["/registry/b", "1", "0", null],
        ["/registry/b", "0", "1", "b1"],
        ["/registry/b", "1", "0", null],
        ["/registry/leased", "1", "0", null],
        ["/registry/c", "1", "0", null],
        ["/registry/d", "1", "0", null],
        ["/registry/d", "0", "1", "d"],
      ]);

      // kine updates, loses a race against itself, creates, and compacts.
      await admin(kine.insert("/registry/a", 2, 5, "a4"));
      await expect(admin(kine.insert("/registry/a", 2, 5, "late"))).rejects.toThrow(/[Dd]uplicate/);
      await admin(kine.insert("/registry/new", 0, 0, "n1"));
      for (const statement of kine.compact(left.head)) await admin(statement);
      const [row] = await admin("SELECT MAX(id) FROM kine WHERE name = '/registry/a'");
      expect(Number(row![0])).toBe(left.head + 1);

      const atLast = listed(await admin(kine.list()));
      await withKeelson(async (client) => {
        expect(alone(await seen(client))).toEqual(alone(atLast));
        await expect(seen(client, left.middle)).rejects.toThrow("has been compacted");
        const { kvs, header } = await client.range({ key: Buffer.from("/registry/a") });
        expect(kvs[0]).toMatchObject({ createRevision: 2, modRevision: left.head + 1, version: 4 });
        expect(await put(client, "/registry/a", "a5")).toBe(header!.revision + 1);
      });
    });
  });
}

import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import type { DatabaseServer } from "@keelson/conformance";
import { createRegistry, silentLogger, systemClock } from "@keelson/service";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type {
  AppendLog,
  ForeignChanges,
  LogBatch,
  LogRow,
  LogState,
  StoredLease,
  StoredRow,
} from "../src/log/append-log.ts";
import type { SqlLogOptions } from "../src/log/sql/open-sql-log.ts";
import { SqliteLog } from "../src/log/sqlite.ts";
import { temporaryFolder } from "./running-datastore.ts";

const recordedKine = join(import.meta.dirname, "../../../conformance/vectors/kine-state.db");

/** What differs between the databases under the same behaviour. */
export interface SqlFlavour {
  start(): Promise<DatabaseServer>;
  createLog(endpoint: string, options: SqlLogOptions): AppendLog;
  /** Runs SQL as the administrator; resolves with the rows, columns as text. */
  admin(server: DatabaseServer, database: string, sql: string): Promise<(string | null)[][]>;
  /** Cuts the connection that writes, from the server's side. */
  cutWriters(server: DatabaseServer, database: string): Promise<void>;
  setReadOnly(server: DatabaseServer, database: string, readOnly: boolean): Promise<void>;
  /** kine's table as releases up to v0.11.4 made it, with 32-bit ids, and rows of that kine. */
  oldKine: readonly string[];
  /** kine's table as it is today, empty. */
  newKine: readonly string[];
  bytesLiteral(bytes: Uint8Array): string;
  /** Asks for the id that kine's next insert would get. */
  nextKineId(server: DatabaseServer, database: string): Promise<number>;
}

/** An engine as simple as can be: keeps every row it was given or committed. */
export class Replica {
  readonly log: AppendLog;
  readonly rows: StoredRow[] = [];
  readonly leases: (StoredLease | { kind: string; id: bigint })[] = [];
  readonly lost: LogState[] = [];
  state!: LogState;
  head = 0;
  readonly #wakeUps: (() => void)[] = [];

  constructor(log: AppendLog) {
    this.log = log;
  }

  async open(): Promise<this> {
    this.state = await this.log.open({
      apply: (changes) => this.#apply(changes),
      lost: (state) => {
        this.lost.push(state);
        this.rows.length = 0;
        this.head = state.currentRevision;
        // The test may be over, and the log closed, before this is.
        this.#load().catch(() => undefined);
      },
    });
    this.head = this.state.currentRevision;
    await this.#load();
    return this;
  }

  get ids(): number[] {
    return this.rows.map(({ id }) => id);
  }

  keys(): string[] {
    return this.rows.map(({ key }) => key);
  }

  /** Creates the keys in one batch and returns their ids. */
  async create(keys: readonly string[], change: Partial<LogBatch> = {}): Promise<number[]> {
    return this.write((id) => keys.map((key, at) => newRow(id + at, key)), change);
  }

  async write(makeRows: (firstId: number) => LogRow[], change: Partial<LogBatch> = {}): Promise<number[]> {
    const turn = await this.log.acquire();
    const rows = makeRows(this.head + 1);
    await turn.commit({ rows, leases: [], settings: new Map(), compactedRevision: undefined, purgeIds: [], ...change });
    for (const row of rows) {
      const { previousId: _previousId, value, ...stored } = row;
      this.rows.push(value === undefined ? stored : { ...stored, value });
    }
    this.head = rows.at(-1)?.id ?? this.head;
    return rows.map(({ id }) => id);
  }

  /** Resolves when the sink has had something that satisfies the condition. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#wakeUps.push(resolve));
  }

  async #load(): Promise<void> {
    const { rows, leases } = this;
    await this.log.load(
      (row) => rows.push(row),
      (lease) => leases.push(lease),
    );
    this.#wake();
  }

  #apply(changes: ForeignChanges): void {
    this.rows.push(...changes.rows);
    this.leases.push(...changes.leases);
    this.head = Math.max(this.head, changes.rows.at(-1)?.id ?? 0);
    this.#wake();
  }

  #wake(): void {
    for (const resolve of this.#wakeUps.splice(0)) resolve();
  }
}

export function newRow(id: number, key: string, change: Partial<LogRow> = {}): LogRow {
  return {
    id,
    key,
    created: true,
    deleted: false,
    createRevision: 0,
    previousId: 0,
    leaseTtlSeconds: 0,
    leaseId: 0n,
    version: 1,
    txnLast: 0,
    value: Buffer.from(`value of ${key}`),
    ...change,
  };
}

const tombstone = { created: false, deleted: true, version: 0, value: undefined } as const;

/** Rows without the bytes of their keys and values in the way of a readable difference. */
function outline(rows: readonly StoredRow[]): { id: number; key: string; value: string | undefined }[] {
  return rows.map(({ id, key, value }) => ({
    id,
    key,
    value: value === undefined ? undefined : Buffer.from(value).toString("latin1"),
  }));
}

/** Patient, because a loaded machine is slow. */
const eventually = <T>(read: () => T | Promise<T>) => expect.poll(read, { timeout: 10_000 });

/** The behaviour that PostgreSQL, MySQL and MariaDB share. */
export function describeSharedLog(flavour: SqlFlavour): void {
  let server: DatabaseServer;
  let database = "";
  let count = 0;
  const open: AppendLog[] = [];

  beforeAll(async () => {
    server = await flavour.start();
  }, 60_000);
  afterEach(async () => {
    for (const log of open.splice(0)) await log.close();
  });
  afterAll(async () => {
    await server?.close();
  });

  const createLog = (): AppendLog => {
    const registry = createRegistry({ defaultMetrics: false });
    const log = flavour.createLog(server.endpoint(database), { logger: silentLogger, clock: systemClock, registry });
    open.push(log);
    return log;
  };
  const replica = (): Promise<Replica> => new Replica(createLog()).open();
  const admin = (sql: string): Promise<(string | null)[][]> => flavour.admin(server, database, sql);
  const fresh = (): void => {
    database = `store_${count++}`;
  };

  describe("a new database", () => {
    it("is created on first use, at revision 1, and shares one cluster id", async () => {
      fresh();
      const [a, b] = await Promise.all([replica(), replica()]);
      expect(a.state).toMatchObject({ currentRevision: 1, compactedRevision: -1, clusterId: b.state.clusterId });
      expect(a.state.clusterId).not.toBe(0n);
      expect(a.state.memberId).not.toBe(b.state.memberId);
      expect(a.rows).toEqual([]);
    });

    it("lists the replicas with their client URLs", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      a.log.announce({ name: "a", clientUrls: ["http://a:2379"] });
      await eventually(async () => (await admin("SELECT client_urls FROM keelson_member")).length).toBe(1);
      b.log.announce({ name: "b", clientUrls: ["http://b:2379"] });
      await eventually(async () => (await b.log.members()).map(({ name }) => name).sort()).toEqual(["a", "b"]);
    });
  });

  describe("rows", () => {
    it("come back as they were, whatever bytes their keys and values have", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      const allBytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      const keys = [
        "/plain",
        "\0",
        "\0\x01\x02",
        "\x01",
        "\xff\xfe",
        'it\'s \\ "quoted" %s ?',
        allBytes.toString("latin1"),
      ];
      await a.write((id) => keys.map((key, at) => newRow(id + at, key, { value: allBytes, version: at + 1 })));
      await a.write((id) => [
        newRow(id, "/empty", {
          value: new Uint8Array(0),
          leaseId: 2n ** 62n + 1n,
          leaseTtlSeconds: 60,
          txnLast: id + 1,
        }),
        newRow(id + 1, "/plain", { ...tombstone, previousId: 2, txnLast: id + 1 }),
      ]);
      await b.log.readIndex();
      expect(outline(b.rows)).toEqual(outline(a.rows));
      expect(b.rows).toMatchObject(a.rows.map(({ value: _value, ...row }) => row));
      const loaded = await replica();
      expect(loaded.rows).toMatchObject(a.rows.map(({ value: _value, ...row }) => row));
      const values = await loaded.log.readValues([...a.ids, 999]);
      expect(values.map((value) => value?.length)).toEqual([...keys.map(() => 256), 0, undefined, undefined]);
      expect(Buffer.from(values[0]!)).toEqual(allBytes);
    });

    it("of four megabytes fit into one batch", async () => {
      fresh();
      const a = await replica();
      const value = Buffer.alloc(1_500_000, "'\\\0");
      await a.write((id) => [0, 1, 2].map((at) => newRow(id + at, `/big/${at}`, { value })));
      const [read] = await a.log.readValues([3]);
      expect(Buffer.from(read!).equals(value)).toBe(true);
    });

    it("keep kine's reserved names apart from clients' keys", async () => {
      fresh();
      const a = await replica();
      await a.write((id) => [newRow(id, "compact_rev_key", { value: Buffer.from("17"), version: 3 })]);
      const stored = await admin("SELECT name, value FROM kine WHERE name LIKE 'compact_rev_key_%'");
      expect(stored).toHaveLength(1);
      expect(Buffer.from((await a.log.readValues([2]))[0]!).toString()).toBe("17");
      expect((await replica()).keys()).toEqual(["compact_rev_key"]);
    });

    it("of deletions carry the deleted value for kine, those of updates get it at a clean stop", async () => {
      fresh();
      const a = await replica();
      await a.create(["/a", "/b"]);
      await a.write((id) => [
        newRow(id, "/a", { created: false, createRevision: 2, previousId: 2, version: 2, value: Buffer.from("new") }),
        newRow(id + 1, "/b", { ...tombstone, previousId: 3 }),
        newRow(id + 2, "/a", { ...tombstone, previousId: id }),
      ]);
      const oldValues = (): Promise<(string | null)[][]> =>
        admin("SELECT old_value FROM kine WHERE id > 3 ORDER BY id");
      expect(await oldValues()).toEqual([[null], ["value of /b"], ["new"]]);
      await a.log.close();
      open.length = 0;
      expect(await oldValues()).toEqual([["value of /a"], ["value of /b"], ["new"]]);
      expect(await flavour.nextKineId(server, database)).toBe(7);
    });

    it("of thousands of deletions in one batch carry the deleted values at the latest after a clean stop", async () => {
      fresh();
      const a = await replica();
      const keys = Array.from({ length: 2_500 }, (_, at) => `/many/${at}`);
      const ids = await a.create(keys);
      await a.write((id) => keys.map((key, at) => newRow(id + at, key, { ...tombstone, previousId: ids[at]! })));
      await a.log.close();
      open.length = 0;
      const complete = `SELECT COUNT(*) FROM kine k JOIN kine p ON p.id = k.prev_revision
        WHERE k.deleted = 1 AND k.old_value = p.value`;
      expect((await admin(complete))[0]![0]).toBe("2500");
    });
  });

  describe("replicas", () => {
    it("see what another committed in a linearizable read that began after it", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      for (let round = 0; round < 20; round++) {
        const [id] = await a.create([`/round/${round}`]);
        await b.log.readIndex();
        expect(b.ids.at(-1)).toBe(id);
      }
    });

    it("are woken by another's commit", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      a.log.announce({ name: "a", clientUrls: [] });
      b.log.announce({ name: "b", clientUrls: [] });
      await a.create(["/one"]);
      await b.until(() => b.keys().includes("/one"));
    });

    it("that write at the same time agree on one order, and get every row once", async () => {
      fresh();
      const replicas = [await replica(), await replica(), await replica()];
      await Promise.all(
        replicas.map(async (writer, who) => {
          for (let round = 0; round < 40; round++) {
            await writer.create([`/${who}/${round}/x`, `/${who}/${round}/y`]);
            if (round % 7 === who) await writer.log.readIndex();
          }
        }),
      );
      for (const { log } of replicas) await log.readIndex();
      const [first, ...others] = replicas;
      expect(first!.ids).toEqual(Array.from({ length: 240 }, (_, at) => at + 2));
      for (const other of others) expect(outline(other.rows)).toEqual(outline(first!.rows));
    });

    it("learn of leases and settings in the order of their changes", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      await a.create([], { leases: [{ kind: "grant", id: 7n, ttlSeconds: 60 }], settings: new Map([["alarm", "on"]]) });
      await b.log.readIndex();
      await a.create([], { leases: [{ kind: "renew", id: 7n }] });
      await b.log.readIndex();
      await a.create([], { leases: [{ kind: "revoke", id: 7n }], settings: new Map([["alarm", undefined]]) });
      await b.log.readIndex();
      expect(b.leases).toEqual([
        { kind: "grant", id: 7n, ttlSeconds: 60 },
        { kind: "renew", id: 7n },
        { kind: "revoke", id: 7n },
      ]);
      await a.create([], { leases: [{ kind: "grant", id: 8n, ttlSeconds: 90 }] });
      const later = await replica();
      expect(later.leases).toEqual([{ id: 8n, ttlSeconds: 90 }]);
      expect(later.state.settings.has("alarm")).toBe(false);
    });

    it("wait for the turn of another, and get it when that one gives up", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      const turn = await a.log.acquire();
      const waiting = b.create(["/b"]);
      expect(await Promise.race([waiting, delay(100, "waits")])).toBe("waits");
      turn.release();
      expect(await waiting).toEqual([2]);
    });

    it("take over when the holder of the lock has stopped without letting go", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      const turn = await a.log.acquire();
      await flavour.cutWriters(server, database);
      await b.create(["/b"]);
      const late = turn.commit({
        rows: [newRow(2, "/a")],
        leases: [],
        settings: new Map(),
        compactedRevision: undefined,
        purgeIds: [],
      });
      await expect(late).rejects.toThrow("commit failed");
      await a.create(["/a"]);
      expect(a.keys()).toEqual(["/b", "/a"]);
    });

    it("load anew when compaction removed rows they never saw", async () => {
      fresh();
      const a = await replica();
      const b = await replica();
      await a.create(["/kept", "/gone"]);
      await b.log.readIndex();
      // Too fast for b: the rows are gone when it looks.
      await admin("DELETE FROM kine WHERE name = '/never'");
      const turn = await a.log.acquire();
      const rows = [newRow(4, "/gone", { ...tombstone, previousId: 3 }), newRow(5, "/other")];
      await turn.commit({ rows, leases: [], settings: new Map(), compactedRevision: 5, purgeIds: [3, 4] });
      await b.log.readIndex();
      await b.until(() => b.keys().includes("/other"));
      if (b.lost.length > 0) expect(b.keys()).toEqual(["/kept", "/other"]);
      expect(b.lost.at(-1)?.compactedRevision ?? 5).toBe(5);
    });

    it("never give out a revision twice, even when the database went back in time", async () => {
      fresh();
      const [a, b] = [await replica(), await replica()];
      await a.create(["/1", "/2", "/3"]);
      await b.log.readIndex();
      await admin("DELETE FROM kine WHERE id > 2");
      await admin("UPDATE keelson_sequencer SET last_id = 2");
      expect(await a.create(["/after"])).toEqual([5]);
      expect(a.lost).toHaveLength(1);
      expect(a.keys()).toEqual(["/1", "/after"]);
      await b.log.readIndex();
      await b.until(() => b.keys().includes("/after"));
      expect(b.keys()).toEqual(["/1", "/after"]);
    });
  });

  describe("faults", () => {
    it("cut writing connections again and again without losing or doubling a batch", async () => {
      fresh();
      const replicas = [await replica(), await replica()];
      const acknowledged: string[] = [];
      let done = false;
      const cutting = (async () => {
        while (!done) {
          await delay(15);
          await flavour.cutWriters(server, database);
        }
      })();
      await Promise.all(
        replicas.map(async (writer, who) => {
          for (let round = 0; round < 30; round++) {
            const keys = [`/${who}/${round}/x`, `/${who}/${round}/y`];
            await writer.create(keys).then(
              () => acknowledged.push(...keys),
              () => undefined,
            );
          }
        }),
      );
      done = true;
      await cutting;
      for (const { log } of replicas) await log.readIndex();
      const [a, b] = replicas;
      const names = (await admin("SELECT name FROM kine WHERE id > 1 ORDER BY id")).map(([name]) => name!);
      expect(a!.keys()).toEqual(names);
      expect(b!.keys()).toEqual(names);
      expect(new Set(names).size).toBe(names.length);
      expect(acknowledged.length).toBeGreaterThan(0);
      for (const key of acknowledged) expect(names).toContain(key);
    }, 60_000);

    it("fail fast while the database is down, and go on by themselves when it is back", async () => {
      fresh();
      const a = await replica();
      await a.create(["/before"]);
      await server.process.stop();
      await expect(a.create(["/down"])).rejects.toThrow();
      await expect(a.create(["/down"])).rejects.toThrow("write lock");
      await expect(a.log.readIndex()).rejects.toThrow("newest revision");
      await server.process.start();
      await eventually(() => a.create(["/after"]).catch(() => "down")).toEqual([3]);
      expect(a.keys()).toEqual(["/before", "/after"]);
      expect((await a.log.readValues([2]))[0]).toBeDefined();
    }, 60_000);

    it("refuse writes while the database is read-only, and take them afterwards", async () => {
      fresh();
      const a = await replica();
      await flavour.setReadOnly(server, database, true);
      await eventually(() => a.create(["/no"]).then(String, String)).toMatch(/read-only/);
      await a.log.readIndex();
      await flavour.setReadOnly(server, database, false);
      await eventually(() => a.create(["/yes"]).catch(() => "refused")).toEqual([2]);
    });

    it("keep the unique index that a database lost", async () => {
      fresh();
      await (await replica()).create(["/a"]);
      await admin(flavour.oldKine.length > 0 ? dropUniqueIndex(server.kind) : "");
      await replica();
      await expect(admin("INSERT INTO kine (name, prev_revision, deleted) VALUES ('/a', 0, 0)")).rejects.toThrow(
        /[Dd]uplicate/,
      );
    });
  });

  describe("kine's tables", () => {
    it("of an old release are widened and continued where kine stopped", async () => {
      fresh();
      await replica();
      await admin("DROP TABLE kine");
      for (const table of ["meta", "lease", "sequencer", "member"]) await admin(`DROP TABLE keelson_${table}`);
      for (const statement of flavour.oldKine) await admin(statement);
      const a = await replica();
      expect(a.state).toMatchObject({ currentRevision: 9, compactedRevision: 3 });
      expect(a.rows.map(({ id, key, version }) => [id, key, version])).toEqual([
        [2, "/registry/a", 1],
        [4, "/registry/a", 2],
        [5, "/registry/A", 1],
        [6, "/registry/late", 2],
        [7, "/registry/a", 0],
        [9, "/registry/a", 1],
      ]);
      expect(a.rows[1]!.leaseTtlSeconds).toBe(30);
      await a.create(["/registry/new"]);
      await admin("INSERT INTO kine (id, name, deleted) VALUES (3000000000, 'gap-3000000000', 1)");
    });

    it("with a recorded K3s cluster hold what the same rows hold in SQLite", async () => {
      const path = join(await temporaryFolder(), "state.db");
      await copyFile(recordedKine, path);
      fresh();
      await (await replica()).log.close();
      open.length = 0;
      await admin("DROP TABLE kine");
      for (const table of ["meta", "lease", "sequencer", "member"]) await admin(`DROP TABLE keelson_${table}`);
      for (const statement of flavour.newKine) await admin(statement);
      for (const rows of recordedRows(path, flavour.bytesLiteral)) await admin(`INSERT INTO kine VALUES ${rows}`);
      const a = await replica();
      const sqlite = await new Replica(new SqliteLog({ path, log: silentLogger })).open();
      await sqlite.log.close();
      expect(a.state.currentRevision).toBe(sqlite.state.currentRevision);
      expect(a.rows).toEqual(sqlite.rows);
      expect(await a.create(["/next"])).toEqual([a.state.currentRevision + 1]);
    });

    it("are refused when a newer release changed them", async () => {
      fresh();
      await replica();
      await admin("UPDATE keelson_meta SET value = '99' WHERE name = 'schema_level'");
      await expect(replica()).rejects.toThrow("newer Keelson");
      open.pop();
    });
  });
}

/** The rows of a kine in SQLite as tuples for an insert, some hundred at a time. */
function* recordedRows(path: string, literal: (bytes: Uint8Array) => string): Generator<string> {
  const file = new DatabaseSync(path, { readOnly: true });
  const columns = "id, name, created, deleted, create_revision, prev_revision, lease, value, old_value";
  const tuples = file
    .prepare(`SELECT ${columns} FROM kine ORDER BY id`)
    .all()
    .map((row) => {
      const cells = Object.values(row).map((cell) => {
        if (cell instanceof Uint8Array) return literal(cell);
        return typeof cell === "string" ? `'${cell}'` : String(cell ?? "NULL");
      });
      return `(${cells.join()})`;
    });
  file.close();
  for (let at = 0; at < tuples.length; at += 100) yield tuples.slice(at, at + 100).join();
}

function dropUniqueIndex(kind: DatabaseServer["kind"]): string {
  return `DROP INDEX kine_name_prev_revision_uindex${kind === "postgres" ? "" : " ON kine"}`;
}

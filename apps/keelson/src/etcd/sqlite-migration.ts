import { mkdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { createDatastore } from "@keelson/datastore";
import { createEtcdClient, type EtcdClient, type EtcdClientOptions } from "@keelson/etcd-client";
import {
  type Clock,
  errorCode,
  errorMessage,
  KeelsonError,
  type Logger,
  readFileIfExists,
  writeFileAtomic,
} from "@keelson/service";
import { etcdLayout } from "./layout.ts";
import { hasMemberData } from "./member-files.ts";

const pageKeys = 200;
/** etcd takes 128 operations and 1.5 MiB at once; a value that is larger alone goes alone. */
const batchKeys = 100;
const batchBytes = 1 << 20;
const callTimeoutMs = 30_000;
const progressKeys = 10_000;

type KeyValue = Awaited<ReturnType<EtcdClient["range"]>>["kvs"][number];

/**
 * Takes a single server's data from SQLite into the etcd of the cluster that it founds, once, before its API serves. The
 * database is not changed and is renamed to `state.db.migrated` at the end. A mark among etcd's data says until then that
 * it is not complete: an interrupted copy is thrown away and made anew. What is put in that data's place (a restored
 * snapshot) has no mark.
 */
export class SqliteMigration {
  readonly #dataDir: string;
  readonly #database: string;
  readonly #mark: string;
  readonly #deps: { log: Logger; clock: Clock };

  private constructor(dataDir: string, deps: { log: Logger; clock: Clock }) {
    const { db, data } = etcdLayout(dataDir);
    this.#dataDir = dataDir;
    this.#database = join(db, "state.db");
    this.#mark = join(data, "incomplete");
    this.#deps = { log: deps.log.child({ component: "migration" }), clock: deps.clock };
  }

  /** The migration that a server with embedded etcd still has before it, if any. To be asked before etcd starts. */
  static async pending(
    dataDir: string,
    joins: boolean,
    deps: { log: Logger; clock: Clock },
  ): Promise<SqliteMigration | undefined> {
    const migration = new SqliteMigration(dataDir, deps);
    if (!(await exists(migration.#database))) {
      // The end came between the last two steps.
      await rm(migration.#mark, { force: true });
      return undefined;
    }
    const isIncomplete = (await readFileIfExists(migration.#mark)) !== undefined;
    if (isIncomplete || (!joins && !(await hasMemberData(etcdLayout(dataDir))))) return migration;
    deps.log.warn(
      { database: migration.#database },
      "the SQLite database of this server is not used: its data is that of the etcd cluster",
    );
    return undefined;
  }

  /** Before etcd starts: throws away what an interrupted copy left in it. */
  async begin(): Promise<void> {
    const { db, data } = etcdLayout(this.#dataDir);
    // Out of the way in one step: the mark must not go before what it stands for.
    const discarded = join(db, "etcd-incomplete");
    await rm(discarded, { recursive: true, force: true });
    if ((await readFileIfExists(this.#mark)) !== undefined) {
      this.#deps.log.warn("the copy from SQLite to etcd was interrupted, beginning anew");
      await rename(data, discarded);
      await rm(discarded, { recursive: true });
    }
    await mkdir(data, { recursive: true, mode: 0o700 });
    await writeFileAtomic(this.#mark, "", 0o600);
  }

  /** Copies every key, with its lease, then retires the database. Throws `etcd/migration-failed`; a restart tries again. */
  async run(target: EtcdClientOptions): Promise<void> {
    const { log } = this.#deps;
    log.info({ database: this.#database }, "copying the SQLite database into etcd, once");
    const url = `unix://${join(this.#dataDir, "server", "kine.sock")}`;
    const datastore = createDatastore({ endpoint: `sqlite://${this.#database}`, listen: [{ url }] }, this.#deps);
    const source = createEtcdClient({ endpoints: [url], timeoutMs: callTimeoutMs });
    const etcd = createEtcdClient({ ...target, timeoutMs: callTimeoutMs });
    let keys: number;
    try {
      await datastore.start();
      keys = await copyKeys(source, etcd, (count) => log.info({ keys: count }, "copying"));
    } catch (cause) {
      throw new KeelsonError("etcd/migration-failed", `cannot copy SQLite into etcd: ${errorMessage(cause)}`, {
        hint: `${this.#database} is as it was: mend the cause and start the server again`,
        cause,
      });
    } finally {
      source.close();
      etcd.close();
      await datastore.stop();
    }
    const retired = `${this.#database}.migrated`;
    await rename(this.#database, retired);
    // Empty after an orderly end; SQLite finds them by the name of the database.
    for (const suffix of ["-wal", "-shm"]) await moveIfExists(this.#database + suffix, retired + suffix);
    for (const suffix of ["-owner", "-reserve"]) await rm(this.#database + suffix, { force: true });
    await rm(this.#mark);
    log.info({ keys, retired }, "the data is in etcd; the SQLite database is kept and not used any more");
  }
}

/** Nobody writes meanwhile: the pages fit together without a revision. Resolves to the number of keys. */
async function copyKeys(source: EtcdClient, target: EtcdClient, progress: (count: number) => void): Promise<number> {
  const leases = new Map<bigint, Promise<boolean>>();
  let count = 0;
  for (let key: Buffer | undefined = Buffer.from([0]); key !== undefined; ) {
    const { kvs, more } = await source.range({ key, rangeEnd: Buffer.from([0]), limit: pageKeys });
    const living: KeyValue[] = [];
    for (const kv of kvs) {
      if (kv.lease !== 0n && !leases.has(kv.lease)) leases.set(kv.lease, copyLease(kv.lease, source, target));
      if (kv.lease === 0n || (await leases.get(kv.lease))) living.push(kv);
    }
    for (const batch of batches(living)) {
      const success = batch.map(({ key, value, lease }) => ({ requestPut: { key, value, lease } }));
      await target.txn({ success });
    }
    if (Math.floor(count / progressKeys) < Math.floor((count + living.length) / progressKeys)) {
      progress(count + living.length);
    }
    count += living.length;
    key = more ? Buffer.concat([kvs.at(-1)!.key, Buffer.from([0])]) : undefined;
  }
  return count;
}

/** Grants the same lease for the time that is left of it; false when it has run out, and its keys with it. */
async function copyLease(id: bigint, source: EtcdClient, target: EtcdClient): Promise<boolean> {
  const { ttl } = await source.leaseTimeToLive(id, false);
  if (ttl <= 0) return false;
  await target.leaseGrant(ttl, id);
  return true;
}

function* batches(kvs: readonly KeyValue[]): Iterable<KeyValue[]> {
  let batch: KeyValue[] = [];
  let bytes = 0;
  for (const kv of kvs) {
    const size = kv.key.length + kv.value.length;
    if (batch.length === batchKeys || (batch.length > 0 && bytes + size > batchBytes)) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(kv);
    bytes += size;
  }
  if (batch.length > 0) yield batch;
}

async function exists(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

async function moveIfExists(from: string, to: string): Promise<void> {
  try {
    await rename(from, to);
  } catch (error) {
    if (errorCode(error) !== "ENOENT") throw error;
  }
}

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { keyValue, Reader } from "@keelson/protocol/etcd";
import { type Dependencies, KeelsonError, withDefaults } from "@keelson/service";
import type { AppendLog, LogBatch, LogRow } from "../log/append-log.ts";
import { openLog } from "../log/open-log.ts";
import type { DatabaseTlsFiles } from "../log/sql/tls-files.ts";
import { etcdEndpoint } from "../proxy/etcd-endpoint.ts";
import type { BoltReader } from "./bolt-reader.ts";
import { type Newest, newestVersions, openSnapshot } from "./read-snapshot.ts";

export interface RestoreOptions {
  /** File of `etcdctl snapshot save`, from Keelson or from an etcd, or the `member/snap/db` of a stopped etcd. */
  file: string;
  /** Database to fill; it must be empty. */
  endpoint: string;
  databaseTls?: DatabaseTlsFiles;
}

export interface Restored {
  keys: number;
  leases: number;
  /** Revision of the restored store. */
  revision: number;
}

/** Size of a commit. */
const maxBatchRows = 500;
const maxBatchBytes = 4 << 20;

/** bbolt's pages are whole sectors, so that what is left over is the hash. */
const sectorBytes = 512;
const sha256Bytes = 32;

/**
 * Fills an empty database from a snapshot. Keys keep their revisions, unless several keys share one (a transaction of an
 * etcd): rows need an id each, so then all are numbered anew in their order. Only the newest state is taken over, so that
 * the store counts as compacted at its last revision: a client that remembers an older one is told to list again.
 */
export async function restoreSnapshot(options: RestoreOptions, deps: Partial<Dependencies> = {}): Promise<Restored> {
  const { log: logger, clock, registry } = withDefaults(deps);
  if (etcdEndpoint.test(options.endpoint)) {
    throw new KeelsonError("snapshot/endpoint", "an etcd restores snapshots into its own data directory", {
      hint: "use `etcdctl snapshot restore` there, or name a sqlite://, postgres:// or mysql:// database",
    });
  }
  using reader = openSnapshot(options.file);
  await verifyHash(options.file);
  const tls = options.databaseTls === undefined ? {} : { tls: options.databaseTls };
  const log = openLog(options.endpoint, { logger, clock, registry, ...tls });
  try {
    const state = await log.open({ apply() {}, lost() {} });
    let rows = 0;
    await log.load(
      () => rows++,
      () => {},
    );
    if (rows > 0) {
      throw new KeelsonError("snapshot/not-empty", "the database to restore into already holds keys", {
        hint: "restore into a new database, then point the datastore endpoint at it",
      });
    }
    const leases = [...reader.bucket("lease")].map(({ value }) => decodeLease(value));
    const ttls = new Map(leases.map(({ id, ttlSeconds }) => [id, ttlSeconds]));
    await commit(log, { leases: leases.map((lease) => ({ kind: "grant", ...lease })) });
    const newest = versionsToKeep(reader);
    const shared = new Set(newest.map(({ main }) => main)).size < newest.length;
    const keepsIds = !shared && (newest[0]?.main ?? Number.POSITIVE_INFINITY) > state.currentRevision;
    let nextId = state.currentRevision;
    let batch: LogRow[] = [];
    let bytes = 0;
    for (const { main, bytes: encoded } of newest) {
      nextId = keepsIds ? main : nextId + 1;
      const row = rowOf(nextId, encoded, ttls, keepsIds);
      batch.push(row);
      bytes += row.value?.length ?? 0;
      if (batch.length < maxBatchRows && bytes < maxBatchBytes) continue;
      await commit(log, { rows: batch });
      batch = [];
      bytes = 0;
    }
    await commit(log, { rows: batch, compactedRevision: nextId });
    const keys = newest.filter(({ bytes: encoded }) => keyValue.decode(encoded).version > 0).length;
    return { keys, leases: leases.length, revision: nextId };
  } finally {
    await log.close();
  }
}

/** `etcdctl snapshot save` puts the SHA-256 of the file behind its pages; a copied database file has none. */
async function verifyHash(file: string): Promise<void> {
  const { size } = await stat(file);
  if (size % sectorBytes !== sha256Bytes) return;
  const hash = createHash("sha256");
  let told = Buffer.alloc(0);
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    const bytes = Buffer.concat([told, chunk]);
    told = bytes.subarray(-sha256Bytes);
    hash.update(bytes.subarray(0, -sha256Bytes));
  }
  if (hash.digest().equals(told)) return;
  throw new KeelsonError(
    "snapshot/damaged",
    `${file} is not an intact etcd snapshot: its content does not match its hash`,
    {
      hint: "copy it anew from where it was taken, or take another",
    },
  );
}

/** Live keys, and the tombstone at the very end if the snapshot ends with one, by revision. */
function versionsToKeep(reader: BoltReader): Newest[] {
  const newest = newestVersions(reader);
  return newest.filter((version, index) => !version.isTombstone || index === newest.length - 1);
}

function rowOf(id: number, encoded: Buffer, ttls: Map<bigint, number>, keepsIds: boolean): LogRow {
  const kv = keyValue.decode(encoded);
  const deleted = kv.version === 0;
  // Renumbered keys begin a new life: their creation revision would mean another revision now.
  const created = !deleted && (kv.version === 1 || !keepsIds);
  return {
    id,
    key: kv.key.toString("latin1"),
    created,
    deleted,
    createRevision: created || deleted ? 0 : kv.createRevision,
    previousId: 0,
    leaseTtlSeconds: ttls.get(kv.lease) ?? 0,
    leaseId: ttls.has(kv.lease) ? kv.lease : 0n,
    version: created ? 1 : kv.version,
    txnLast: 0,
    value: deleted ? undefined : kv.value,
  };
}

async function commit(log: AppendLog, part: Partial<LogBatch>): Promise<void> {
  const batch = { rows: [], leases: [], settings: new Map(), compactedRevision: undefined, purgeIds: [], ...part };
  const turn = await log.acquire();
  await turn.commit(batch);
}

/** leasepb.Lease: ID=1, TTL=2. */
function decodeLease(bytes: Buffer): { id: bigint; ttlSeconds: number } {
  const reader = new Reader(bytes);
  let id = 0n;
  let ttlSeconds = 0;
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    if (tag === 0x08) id = reader.bigint64();
    else if (tag === 0x10) ttlSeconds = reader.int64();
    else reader.skip(tag & 7);
  }
  return { id, ttlSeconds };
}

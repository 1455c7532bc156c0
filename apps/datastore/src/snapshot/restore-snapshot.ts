import { keyValue, Reader } from "@keelson/protocol/etcd";
import { type Dependencies, errorMessage, KeelsonError, withDefaults } from "@keelson/service";
import type { AppendLog, LogBatch, LogRow, LogState, StoredLease } from "../log/append-log.ts";
import { openLog } from "../log/open-log.ts";
import type { DatabaseTlsFiles } from "../log/sql/tls-files.ts";
import { etcdEndpoint } from "../proxy/etcd-endpoint.ts";
import type { BoltReader } from "./bolt-reader.ts";
import { type Newest, newestVersions, openSnapshot } from "./read-snapshot.ts";
import { markerSetting, type RestoreMarker, readMarker } from "./restore-marker.ts";
import { snapshotHash } from "./snapshot-hash.ts";

export interface RestoreOptions {
  /** File of `etcdctl snapshot save`, from Keelson or from an etcd, or with `skipHashCheck` the `member/snap/db` of a stopped etcd. */
  file: string;
  /** Takes a file whose hash is missing or does not match, as a copied database file has none. */
  skipHashCheck?: boolean;
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

/**
 * Fills an empty database from a snapshot. Keys keep their revisions and versions. Where several keys share a revision (a
 * transaction of an etcd) rows may get higher ids than their revisions, since each row needs one of its own: the store's revision
 * is then that much higher than the snapshot's, never lower. Only the newest state is taken over, so that the store
 * counts as compacted at its last revision: a client that remembers an older one is told to list again.
 *
 * Until all is there the database is marked and no datastore serves it; the same restore run again goes on where it ended.
 */
export async function restoreSnapshot(options: RestoreOptions, deps: Partial<Dependencies> = {}): Promise<Restored> {
  const { log: logger, clock, registry } = withDefaults(deps);
  if (etcdEndpoint.test(options.endpoint)) {
    throw new KeelsonError("snapshot/endpoint", "an etcd restores snapshots into its own data directory", {
      hint: "use `etcdctl snapshot restore` there, or name a sqlite://, postgres:// or mysql:// database",
    });
  }
  using reader = openSnapshot(options.file);
  const snapshot = await snapshotHash(options.file, options.skipHashCheck === true);
  const tls = options.databaseTls === undefined ? {} : { tls: options.databaseTls };
  const log = openLog(options.endpoint, { logger, clock, registry, ...tls });
  try {
    const state = await log.open({ apply() {}, lost() {} });
    const leases = [...reader.bucket("lease")].map(({ value }) => decodeLease(value));
    const newest = versionsToKeep(reader);
    checkKeys(log, newest);
    const { base } = readMarker(state) ?? { base: state.currentRevision };
    await begin(log, state, { snapshot, base }, leases);

    const ttls = new Map(leases.map(({ id, ttlSeconds }) => [id, ttlSeconds]));
    const ids = rowIds(newest, base);
    let batch: LogRow[] = [];
    let bytes = 0;
    for (const [at, { main, bytes: encoded }] of newest.entries()) {
      const id = ids[at]!;
      // An earlier run has come as far.
      if (id <= state.currentRevision) continue;
      const row = rowOf(id, main, encoded, ttls);
      batch.push(row);
      bytes += row.value?.length ?? 0;
      if (batch.length < maxBatchRows && bytes < maxBatchBytes) continue;
      await commit(log, { rows: batch });
      batch = [];
      bytes = 0;
    }
    const revision = Math.max(base, ids.at(-1) ?? 0, compactedRevision(reader));
    await commit(log, { rows: batch, compactedRevision: revision, settings: markerSetting(undefined) });
    const keys = newest.filter(({ isTombstone }) => !isTombstone).length;
    return { keys, leases: leases.length, revision };
  } finally {
    await log.close();
  }
}

/** Refuses keys that the database cannot index before anything is written. */
function checkKeys(log: AppendLog, versions: readonly Newest[]): void {
  for (const { bytes } of versions) {
    const key = keyValue.decode(bytes).key.toString("latin1");
    if (log.fitsKey?.(key) === false) {
      const start = JSON.stringify(key.slice(0, 100));
      throw new KeelsonError("snapshot/long-key", `a key of ${key.length} bytes is too long here: ${start}…`, {
        hint: "restore into a sqlite:// database, which takes any key, or delete the key and take another snapshot",
      });
    }
  }
}

/** Marks an empty database and grants the leases, or finds that an earlier run of the same restore has. */
async function begin(log: AppendLog, state: LogState, marker: RestoreMarker, leases: StoredLease[]): Promise<void> {
  const interrupted = readMarker(state);
  let rows = 0;
  await log.load(
    () => rows++,
    () => {},
  );
  if (interrupted === undefined) {
    if (rows > 0) {
      throw new KeelsonError("snapshot/not-empty", "the database to restore into already holds keys", {
        hint: "restore into a new database, then point the datastore endpoint at it",
      });
    }
    const granted = leases.map((lease) => ({ kind: "grant", ...lease }) as const);
    return commit(log, { leases: granted, settings: markerSetting(marker) });
  }
  if (interrupted.snapshot !== marker.snapshot) {
    throw new KeelsonError("snapshot/other", "the restore of another snapshot into this database was interrupted", {
      hint: "run it again with that snapshot, or restore this one into a new database",
    });
  }
}

/** Live keys, and the tombstone at the very end if the snapshot ends with one, by revision. */
function versionsToKeep(reader: BoltReader): Newest[] {
  const newest = newestVersions(reader);
  return newest.filter((version, index) => !version.isTombstone || index === newest.length - 1);
}

/** Ascending row ids above `base`: where there is room a transaction's last row has its revision as id, as in any store of ours. */
function rowIds(versions: readonly Newest[], base: number): number[] {
  const behind = versions.map(() => 0);
  for (let at = versions.length - 2; at >= 0; at--) {
    if (versions[at]!.main === versions[at + 1]!.main) behind[at] = behind[at + 1]! + 1;
  }
  let id = base;
  return versions.map(({ main }, at) => {
    id = Math.max(id + 1, main - behind[at]!);
    return id;
  });
}

/** The revision that an etcd was compacted at: its newest changes may have been deletions of which nothing is left. */
function compactedRevision(reader: BoltReader): number {
  const revisions = [...reader.bucket("meta")]
    .filter(({ key }) => /^(finished|scheduled)CompactRev$/.test(key.toString()))
    .map(({ value }) => Number(value.readBigUInt64BE(0)));
  return Math.max(0, ...revisions);
}

function rowOf(id: number, revision: number, encoded: Buffer, ttls: Map<bigint, number>): LogRow {
  const kv = keyValue.decode(encoded);
  const deleted = kv.version === 0;
  const created = kv.version === 1;
  return {
    id,
    key: kv.key.toString("latin1"),
    created,
    deleted,
    createRevision: created || deleted ? 0 : kv.createRevision,
    previousId: 0,
    leaseTtlSeconds: ttls.get(kv.lease) ?? 0,
    leaseId: ttls.has(kv.lease) ? kv.lease : 0n,
    version: kv.version,
    txnLast: id === revision ? 0 : revision,
    value: deleted ? undefined : kv.value,
  };
}

async function commit(log: AppendLog, part: Partial<LogBatch>): Promise<void> {
  const batch = { rows: [], leases: [], settings: new Map(), compactedRevision: undefined, purgeIds: [], ...part };
  try {
    const turn = await log.acquire();
    await turn.commit(batch);
  } catch (error) {
    throw new KeelsonError("snapshot/database", `the database failed during the restore: ${errorMessage(error)}`, {
      hint: "see that it is well and has room, then run the same restore again: it goes on where it ended",
      cause: error,
    });
  }
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

import { open } from "node:fs/promises";
import type { Core } from "../core.ts";
import { varint64Size, varintSize, writeVarint, writeVarint64 } from "../engine/key-value-bytes.ts";
import type { Version } from "../engine/version.ts";
import { emulatedEtcdVersion } from "../services/maintenance.ts";
import type { Item } from "./bolt-page.ts";
import { BoltWriter } from "./bolt-writer.ts";

/** Versions whose values are fetched at once. */
const chunkVersions = 500;

/**
 * Writes all keys as they are now into a file that is an etcd database (bbolt, buckets of etcd's mvcc, lease and meta
 * packages), so that `etcdctl snapshot restore` makes an etcd of it. History is not part of it: the snapshot is compacted
 * at its own revision.
 */
export async function writeSnapshot(core: Core, path: string): Promise<void> {
  const revision = core.store.committed;
  // Values must stay readable until they are written.
  const release = core.store.hold();
  const file = await open(path, "wx", 0o600);
  try {
    const versions = versionsAt(core, revision);
    const leases = core.lessor.list().map(leaseItem);
    const writer = new BoltWriter(file);
    const compacted = revisionKey(revision, 0);
    const buckets: [string, AsyncIterable<Item> | Iterable<Item>][] = [
      ["key", keyItems(core, versions)],
      ["lease", leases.sort((a, b) => Buffer.compare(a.key, b.key))],
      [
        "meta",
        [
          { key: Buffer.from("consistent_index"), value: number64(revision) },
          { key: Buffer.from("finishedCompactRev"), value: compacted },
          { key: Buffer.from("scheduledCompactRev"), value: compacted },
        ],
      ],
      [
        "cluster",
        [{ key: Buffer.from("clusterVersion"), value: Buffer.from(`${emulatedEtcdVersion.replace(/\.\d+$/, "")}.0`) }],
      ],
      ["members", []],
      ["members_removed", []],
      ["alarm", []],
      ["auth", []],
      ["authUsers", []],
      ["authRoles", []],
    ];
    const root: Item[] = [];
    for (const [name, items] of buckets) root.push({ key: Buffer.from(name), value: await writer.bucket(items) });
    await writer.finish(root);
  } finally {
    release();
    await file.close();
  }
}

/** All live versions by revision; and the newest tombstone if nothing else is as new, to keep the revision. */
function versionsAt(core: Core, revision: number): Version[] {
  const { store } = core;
  const versions: Version[] = [];
  store.index.scan({ start: "", end: undefined }, (entry) => {
    const version = entry.at(revision);
    if (version !== undefined) versions.push(version);
    return true;
  });
  const { history } = store;
  const newest = history.length > 0 ? history.at(history.after(revision) - 1) : undefined;
  if (newest !== undefined && newest.version === 0) versions.push(newest);
  return versions.sort((a, b) => a.revision - b.revision || a.id - b.id);
}

/** Keys of the key bucket are revisions: main, and the place within the transaction. */
async function* keyItems(core: Core, versions: Version[]): AsyncGenerator<Item> {
  let last = 0;
  let sub = 0;
  for (let at = 0; at < versions.length; at += chunkVersions) {
    const chunk = versions.slice(at, at + chunkVersions);
    const loaded = await core.cache.loadCopies(chunk);
    for (let index = 0; index < chunk.length; index++) {
      const version = chunk[index]!;
      const value = loaded[index]!;
      sub = version.revision === last ? sub + 1 : 0;
      last = version.revision;
      const key = revisionKey(version.revision, sub);
      if (version.version > 0) yield { key, value };
      else yield { key: Buffer.concat([key, Buffer.from("t")]), value: tombstoneValue(version.entry.key) };
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** `<main>_<sub>`, both as eight bytes. */
export function revisionKey(main: number, sub: number): Buffer {
  return Buffer.concat([number64(main), Buffer.from("_"), number64(sub)]);
}

function number64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function tombstoneValue(key: string): Buffer {
  const bytes = Buffer.alloc(1 + varintSize(key.length) + key.length);
  bytes[0] = 0x0a;
  bytes.write(key, writeVarint(bytes, 1, key.length), "latin1");
  return bytes;
}

/** leasepb.Lease: ID=1, TTL=2. */
function leaseItem({ id, ttlSeconds }: { id: bigint; ttlSeconds: number }): Item {
  const key = Buffer.alloc(8);
  key.writeBigInt64BE(id);
  const value = Buffer.alloc(2 + varint64Size(id) + varintSize(ttlSeconds));
  value[0] = 0x08;
  const at = writeVarint64(value, 1, id);
  value[at] = 0x10;
  writeVarint(value, at + 1, ttlSeconds);
  return { key, value };
}

import { crc32 } from "node:zlib";
import { etcdErrors, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { Version } from "../engine/version.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { messageMethod } from "./message-method.ts";

/** Versions hashed between two looks at the event loop. */
const chunkVersions = 500;

/**
 * Maintenance.Hash and HashKV: a checksum of everything a reader at the revision can see, equal on every replica of one
 * database. The numbers are not those of a real etcd, whose hash covers its own file format.
 */
export function hashService(core: Core): UnaryMethod[] {
  return [
    messageMethod(services.maintenance.hash, async () => {
      await core.linearize();
      const revision = core.store.committed;
      return { header: core.header(revision), hash: await hashAt(core, revision) };
    }),
    messageMethod(services.maintenance.hashKv, async (request) => {
      await core.linearize();
      const { committed, compacted } = core.store;
      const revision = request.revision > 0 ? request.revision : committed;
      if (revision > committed) throw etcdErrors.futureRevision();
      if (revision < compacted) throw etcdErrors.compacted();
      const hash = await hashAt(core, revision);
      return { header: core.header(committed), hash, compactRevision: Math.max(compacted, -1), hashRevision: revision };
    }),
  ];
}

async function hashAt(core: Core, revision: number): Promise<number> {
  const release = core.store.hold();
  try {
    return await hashVersions(core, versionsAt(core, revision));
  } finally {
    release();
  }
}

function versionsAt(core: Core, revision: number): Version[] {
  const versions: Version[] = [];
  core.store.index.scan({ start: "", end: undefined }, (entry) => {
    const version = entry.at(revision);
    if (version !== undefined) versions.push(version);
    return true;
  });
  return versions;
}

async function hashVersions(core: Core, versions: readonly Version[]): Promise<number> {
  let hash = 0;
  for (let at = 0; at < versions.length; at += chunkVersions) {
    for (const bytes of await core.cache.loadCopies(versions.slice(at, at + chunkVersions))) {
      hash = crc32(bytes, hash);
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return hash;
}

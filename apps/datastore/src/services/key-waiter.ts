import { etcdErrors } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import { evaluatePut } from "../engine/txn-evaluate.ts";
import type { KeyEntry, Version } from "../engine/version.ts";
import type { WriteScope } from "../queue/write-op.ts";
import { WatchStream } from "../watch/watch-stream.ts";

/**
 * What Lock and Election share: a queue of keys under one prefix, one per lease, in the order of their creation. Whoever
 * has the oldest key holds the lock or leads. The keys are those of etcd's client library, so both can be mixed.
 */

/** `<name>/<lease id in hex>`. */
export function ownerKey(name: Uint8Array, lease: bigint): string {
  return `${Buffer.from(name).toString("latin1")}/${lease.toString(16)}`;
}

/** Joins the queue: creates the owner's key, or keeps one that is there. Resolves with it and whether it is new. */
export async function enqueue(
  core: Core,
  alarms: { refuseWhenFull(): void },
  key: string,
  leaseId: bigint,
  value: Uint8Array,
): Promise<{ version: Version; created: boolean; revision: number }> {
  let version: Version | undefined;
  let created = false;
  const revision = await core.write((scope: WriteScope) => {
    alarms.refuseWhenFull();
    if (core.lessor.get(leaseId) === undefined) throw etcdErrors.leaseNotFound();
    const head = core.store.index.get(key)?.head;
    if (head !== undefined && head.version !== 0) {
      version = head;
      return;
    }
    created = true;
    evaluatePut(scope, {
      kind: "put",
      key,
      value,
      lease: leaseId,
      prevKv: false,
      ignoreValue: false,
      ignoreLease: false,
    });
    version = scope.rows.at(-1)!.version;
  });
  return { version: version!, created, revision };
}

/**
 * Waits until no key under `<name>/` is older than `version`. Throws when the key is gone before its turn comes (its
 * lease ended, or somebody deleted it), and when `signal` says that nobody waits any more.
 */
export async function waitForTurn(core: Core, name: Uint8Array, version: Version, signal: AbortSignal): Promise<void> {
  const prefix = `${Buffer.from(name).toString("latin1")}/`;
  for (;;) {
    const { createRevision } = version;
    const head = version.entry.head;
    if (head === undefined || head.version === 0 || head.createRevision !== createRevision) {
      throw etcdErrors.leaseNotFound();
    }
    const older = newestBefore(core, prefix, createRevision);
    if (older === undefined) return;
    const waiting = new AbortController();
    const either = AbortSignal.any([signal, waiting.signal]);
    await Promise.race([untilDeleted(core, older.key, either), untilDeleted(core, version.entry.key, either)]);
    waiting.abort();
    signal.throwIfAborted();
  }
}

/** Resolves when a key is deleted after now, or when the signal aborts. */
function untilDeleted(core: Core, key: string, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    let announced = false;
    const watches = new WatchStream(core.hub, {
      pendingBytes: 0,
      send() {
        // The first response says that the watch exists.
        if (announced) finish();
        announced = true;
      },
    });
    const finish = (): void => {
      signal.removeEventListener("abort", finish);
      watches.close();
      resolve();
    };
    signal.addEventListener("abort", finish, { once: true });
    watches.create(0, 0, {
      key,
      rangeEnd: "",
      prevKv: false,
      progressNotify: false,
      noPut: true,
      noDelete: false,
      fragment: false,
    });
  });
}

/** The live key under the prefix with the highest creation revision below `revision`. */
function newestBefore(core: Core, prefix: string, revision: number): KeyEntry | undefined {
  let found: KeyEntry | undefined;
  for (const version of liveUnder(core, prefix)) {
    if (version.createRevision >= revision) continue;
    if (found === undefined || version.createRevision > found.head!.createRevision) found = version.entry;
  }
  return found;
}

/** The live key under the prefix that was created first: the holder or leader. */
export function oldest(core: Core, prefix: string): Version | undefined {
  let found: Version | undefined;
  for (const version of liveUnder(core, prefix)) {
    if (found === undefined || version.createRevision < found.createRevision) found = version;
  }
  return found;
}

function liveUnder(core: Core, prefix: string): Version[] {
  const versions: Version[] = [];
  core.store.index.scan({ start: prefix, end: undefined }, (entry) => {
    if (!entry.key.startsWith(prefix)) return false;
    const version = entry.at(core.store.committed);
    if (version !== undefined) versions.push(version);
    return true;
  });
  return versions;
}

import { keyValue } from "@keelson/protocol/etcd";
import { KeelsonError } from "@keelson/service";
import { BoltReader } from "./bolt-reader.ts";

/** The newest version of one key in a snapshot. */
export interface Newest {
  main: number;
  /** Where its transaction's other keys come before it. */
  sub: number;
  /** The key and its value, as etcd encodes them. */
  bytes: Buffer;
  isTombstone: boolean;
}

/**
 * The live keys that begin with `prefix` in a snapshot, or in the `member/snap/db` of a stopped etcd, without an etcd to serve
 * them. Throws `snapshot/unreadable`, or `snapshot/damaged` when the file is not a snapshot; its hash is not checked.
 */
export function readSnapshotKeys(file: string, prefix: string): { key: string; value: string; revision: number }[] {
  using reader = openSnapshot(file);
  return newestVersions(reader, prefix)
    .filter(({ isTombstone }) => !isTombstone)
    .map(({ bytes }) => {
      const { key, value, modRevision } = keyValue.decode(bytes);
      return { key: key.toString(), value: value.toString(), revision: modRevision };
    });
}

export function openSnapshot(file: string): BoltReader {
  try {
    return new BoltReader(file);
  } catch (error) {
    if (error instanceof KeelsonError) throw error;
    throw new KeelsonError("snapshot/unreadable", `cannot read the snapshot ${file}`, {
      hint: "check the path and its permissions",
      cause: error,
    });
  }
}

/** The newest version of each key that begins with `prefix`, deleted ones too, by revision. */
export function newestVersions(reader: BoltReader, prefix = ""): Newest[] {
  const start = Buffer.from(prefix);
  const byKey = new Map<string, Newest>();
  for (const { key: place, value } of reader.bucket("key")) {
    const { key } = keyValue.decode(value);
    if (!key.subarray(0, start.length).equals(start)) continue;
    byKey.set(key.toString("latin1"), {
      main: Number(place.readBigUInt64BE(0)),
      sub: Number(place.readBigUInt64BE(9)),
      bytes: Buffer.from(value),
      isTombstone: place.length > 17,
    });
  }
  return [...byKey.values()].sort((a, b) => a.main - b.main || a.sub - b.sub);
}

/** A snapshot as users see it: `keelson etcd-snapshot ls`. */
export interface Snapshot {
  /** File name: `<base>-<node>-<unix seconds>`, plus `.zip` when compressed. */
  name: string;
  nodeName: string;
  /** `file:///…` or `s3://bucket/folder/name`. */
  location: string;
  sizeBytes: number;
  createdAtMs: number;
  compressed: boolean;
}

export interface SnapshotName {
  base: string;
  nodeName: string;
  createdAtMs: number;
  compressed: boolean;
}

export function formatSnapshotName(name: SnapshotName): string {
  const suffix = name.compressed ? ".zip" : "";
  return `${name.base}-${name.nodeName}-${Math.floor(name.createdAtMs / 1_000)}${suffix}`;
}

/**
 * Reads a file name; undefined when it is not a snapshot's. Base and node name may both contain dashes, so the boundary
 * between them is known only for a node name that is given.
 */
export function parseSnapshotName(file: string, nodeName: string): SnapshotName | undefined {
  const compressed = file.endsWith(".zip");
  const match = /^(.+)-(\d{9,11})$/.exec(compressed ? file.slice(0, -4) : file);
  if (match === null) return undefined;
  const [, prefix, seconds] = match;
  const suffix = `-${nodeName}`;
  const ours = prefix!.endsWith(suffix);
  return {
    base: ours ? prefix!.slice(0, -suffix.length) : prefix!,
    nodeName: ours ? nodeName : "",
    createdAtMs: Number(seconds) * 1_000,
    compressed,
  };
}

/** Names a user may give: no path in disguise, nothing a shell or an object store stumbles over. */
export function isSnapshotBase(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text);
}

/**
 * Which snapshots retention gives up: of those with this base name, all but the newest `keep`. Snapshots taken by hand
 * under another name are never touched; `keep` 0 keeps everything.
 */
export function expiredSnapshots(snapshots: readonly Snapshot[], base: string, keep: number): Snapshot[] {
  if (keep <= 0) return [];
  return snapshots
    .filter((snapshot) => parseSnapshotName(snapshot.name, snapshot.nodeName)?.base === base)
    .sort((a, b) => b.createdAtMs - a.createdAtMs || b.name.localeCompare(a.name))
    .slice(keep);
}

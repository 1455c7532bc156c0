import { KeelsonError } from "@keelson/service";
import type { LogState } from "../log/append-log.ts";

/** The setting that a database has while a snapshot is restored into it. */
const settingName = "restoring";

/** A restore that is under way, or was interrupted. */
export interface RestoreMarker {
  /** SHA-256 of the snapshot, in hex. */
  snapshot: string;
  /** The database's newest revision before the restore: rows get ids above it. */
  base: number;
}

/** The marker of a database; undefined when no restore is under way. */
export function readMarker({ settings }: LogState): RestoreMarker | undefined {
  const [snapshot, base] = settings.get(settingName)?.split(":") ?? [];
  return snapshot === undefined ? undefined : { snapshot, base: Number(base) };
}

/** The setting that marks a database, or takes the mark away. */
export function markerSetting(marker: RestoreMarker | undefined): Map<string, string | undefined> {
  return new Map([[settingName, marker && `${marker.snapshot}:${marker.base}`]]);
}

/** Throws when a database holds only a part of a snapshot: clients would take the keys that are missing for deleted. */
export function refuseHalfRestored(state: LogState): void {
  if (readMarker(state) === undefined) return;
  throw new KeelsonError("snapshot/interrupted", "the restore of a snapshot into this database was interrupted", {
    hint: "run `keelson datastore restore` again with the same snapshot and endpoint: it goes on where it ended",
  });
}

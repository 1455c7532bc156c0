import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorCode, readFileIfExists, writeFileAtomic } from "@keelson/service";
import type { EtcdLayout } from "./layout.ts";
import { newMemberName } from "./membership.ts";

const keptBackups = 5;

/** The member name of this data directory; drawn and stored when it has none. */
export async function memberName(layout: EtcdLayout, nodeName: string): Promise<string> {
  const stored = (await readFileIfExists(layout.name))?.trim();
  if (stored !== undefined && stored !== "") return stored;
  const name = newMemberName(nodeName);
  await mkdir(layout.data, { recursive: true, mode: 0o700 });
  await writeFileAtomic(layout.name, name, 0o600);
  return name;
}

/** Whether etcd has data here: then this server is a member, whatever flags it is started with. */
export async function hasMemberData(layout: EtcdLayout): Promise<boolean> {
  try {
    return (await readdir(layout.wal)).length > 0;
  } catch (error) {
    if (errorCode(error) === "ENOENT") return false;
    throw error;
  }
}

export async function isTombstoned(layout: EtcdLayout): Promise<boolean> {
  return (await readFileIfExists(layout.tombstone)) !== undefined;
}

/**
 * Moves etcd's data out of the way, to `<prefix>-<unix seconds>` beside it (of a later second where that is taken), and drops
 * the oldest of more than five. A removed member never gets its data back by itself: it could bring old state into the cluster.
 */
export async function setDataAside(layout: EtcdLayout, prefix: string, nowMs: number): Promise<string | undefined> {
  const pattern = new RegExp(`^${prefix}-(\\d+)$`);
  const older = (await readdir(layout.db).catch(() => []))
    .map((name) => Number(pattern.exec(name)?.[1] ?? Number.NaN))
    .filter((second) => !Number.isNaN(second))
    .sort((a, b) => a - b);
  const place = (second: number): string => join(layout.db, `${prefix}-${second}`);
  const target = place(Math.max(Math.floor(nowMs / 1_000), (older.at(-1) ?? 0) + 1));
  try {
    await rename(layout.data, target);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
  for (const second of older.slice(0, 1 - keptBackups)) await rm(place(second), { recursive: true });
  return target;
}

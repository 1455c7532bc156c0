import { closeSync, openSync, rmSync, statfsSync, statSync, truncateSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { errorCode } from "@keelson/service";

/** As much as the write-ahead log may hold, so that a full disk has room to copy all of it into the database. */
export const reserveBytes = 20 << 20;

/**
 * Disk space beside a SQLite file that is let go when the disk is full, so that deletions and compaction go on: nobody could
 * make room otherwise. The file stays, empty, until there is space for it again; so a restart knows that the disk is full.
 */
export class DiskReserve {
  readonly #path: string;

  constructor(databasePath: string) {
    this.#path = `${databasePath}-reserve`;
  }

  /** Takes the space unless it is held. False while what was let go cannot be had again: the disk is full. */
  take(): boolean {
    const size = statSync(this.#path, { throwIfNoEntry: false })?.size;
    if (size === reserveBytes) return true;
    if (size === 0 && !this.#hasRoom()) return false;
    if (this.#fill()) return true;
    if (size === 0) return false;
    // A disk that never had room for it does without.
    rmSync(this.#path, { force: true });
    return true;
  }

  /** Lets the space go. False when there was none. */
  release(): boolean {
    if (statSync(this.#path, { throwIfNoEntry: false })?.size !== reserveBytes) return false;
    truncateSync(this.#path);
    return true;
  }

  /** Whether the disk would not be full again at once: the write-ahead log needs as much beside the reserve. */
  #hasRoom(): boolean {
    const { bavail, bsize } = statfsSync(dirname(this.#path));
    return bavail * bsize >= 2 * reserveBytes;
  }

  /** Writes it out, since a hole in a file holds no space. */
  #fill(): boolean {
    const chunk = Buffer.alloc(256 << 10);
    const file = openSync(this.#path, "w", 0o600);
    try {
      for (let left = reserveBytes; left > 0; ) left -= writeSync(file, chunk, 0, Math.min(left, chunk.length));
      return true;
    } catch (error) {
      if (errorCode(error) !== "ENOSPC" && errorCode(error) !== "EDQUOT") throw error;
      truncateSync(this.#path);
      return false;
    } finally {
      closeSync(file);
    }
  }
}

/** Whether SQLite found the disk full (SQLITE_FULL, extended codes included). */
export function isDiskFull(error: unknown): boolean {
  return ((error as { errcode?: number }).errcode ?? 0) % 256 === 13;
}

import { stat } from "node:fs/promises";
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { KeelsonError } from "./errors.ts";
import { readFileIfExists } from "./files.ts";
import type { Service } from "./lifecycle.ts";

/**
 * Keeps what only one process may have (a data folder, a database file) for this one: an exclusive transaction on a small
 * lock file, held until the stop. The operating system lets go of it however the process ends, so nothing is ever stale.
 */
export class Ownership implements Service {
  readonly #lockPath: string;
  readonly #refusal: (holder: string) => KeelsonError;
  #lock: DatabaseSync | undefined;

  /** `refusal` makes the error for whoever comes second; `holder` names the first ("process 4711"). */
  constructor(lockPath: string, refusal: (holder: string) => KeelsonError) {
    this.#lockPath = lockPath;
    this.#refusal = refusal;
  }

  async start(): Promise<void> {
    const { DatabaseSync } = await import("node:sqlite");
    let lock: DatabaseSync | undefined;
    try {
      lock = new DatabaseSync(this.#lockPath);
      lock.exec("PRAGMA busy_timeout = 0; PRAGMA journal_mode = OFF; BEGIN EXCLUSIVE");
      this.#lock = lock;
    } catch (error) {
      lock?.close();
      if (error instanceof Error && /locked|busy/.test(error.message)) {
        throw this.#refusal(await holderOf(this.#lockPath));
      }
      // Where nothing can be written nobody is first: whoever writes there next says why it cannot.
    }
  }

  async stop(): Promise<void> {
    this.#lock?.close();
    this.#lock = undefined;
  }
}

/** A daemon's claim on its data folder, which must exist: a second one there would undo the first one's work. */
export function folderOwnership(folder: string): Ownership {
  return new Ownership(
    join(folder, "owner"),
    (holder) =>
      new KeelsonError("data-dir/in-use", `${holder} is at work in ${folder}`, {
        hint: "stop it first, or choose another folder with --data-dir",
      }),
  );
}

/** Who has a lock on a file, by the kernel's list of locks (proc(5)); a process of another container is not told. */
async function holderOf(path: string): Promise<string> {
  const { ino } = await stat(path);
  const locks = (await readFileIfExists("/proc/locks")) ?? "";
  const fields = locks.split("\n").map((line) => line.split(/\s+/));
  const pid = Number(fields.find((field) => field[5]?.split(":")[2] === String(ino))?.[4]);
  return pid > 0 ? `process ${pid}` : "another process";
}

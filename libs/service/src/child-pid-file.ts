import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Clock } from "./clock.ts";
import { errorCode } from "./errors.ts";
import { readFileIfExists, writeFileAtomic } from "./files.ts";
import type { Logger } from "./logger.ts";

const pollMs = 50;

/**
 * Remembers on disk which process is our child, over our own death: who was killed could not end it, so the next run finds
 * it through this file. A process id is reused; with its start time it names one process for as long as the machine is up.
 */
export class ChildPidFile {
  readonly #path: string;
  readonly #log: Logger;
  readonly #clock: Clock;

  constructor(path: string, deps: { log: Logger; clock: Clock }) {
    this.#path = path;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  /** A file that cannot be written costs the safety net, not the child. */
  async write(pid: number): Promise<void> {
    try {
      await writeFileAtomic(this.#path, `${pid} ${startTimeOf(pid)}\n`, 0o600);
    } catch (error) {
      this.#log.warn({ err: error }, "cannot write the pid file");
    }
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true });
  }

  /** Ends the process that an earlier, killed run of ours left behind: SIGTERM, after `timeoutMs` SIGKILL. */
  async endOrphan(timeoutMs: number): Promise<void> {
    const [pidText, startTime] = (await readFileIfExists(this.#path))?.trim().split(" ") ?? [];
    const pid = Number(pidText);
    if (!Number.isInteger(pid) || pid <= 1 || startTime === undefined || startTimeOf(pid) !== startTime) return;
    this.#log.warn({ pid }, "ending the process that an earlier run left behind");
    signalGroup(pid, "SIGTERM");
    const deadlineMs = this.#clock.monotonic() + timeoutMs;
    while (startTimeOf(pid) === startTime) {
      if (this.#clock.monotonic() >= deadlineMs) signalGroup(pid, "SIGKILL");
      await new Promise<void>((resolve) => this.#clock.setTimeout(resolve, pollMs));
    }
  }
}

/** Sends a signal to a process group; a group that is gone already is what the caller wanted. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if (errorCode(error) !== "ESRCH" && errorCode(error) !== "EPERM") throw error;
  }
}

/** Start time of a living process in clock ticks since boot (`/proc/<pid>/stat`, field 22); empty when there is none. */
function startTimeOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? "" : (fields[19] ?? "");
  } catch {
    return "";
  }
}

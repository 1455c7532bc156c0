import { type Clock, errorMessage, type Logger, readFileIfExists, type Timer, writeFileAtomic } from "@keelson/service";
import type { VerifiedCache } from "./verified-cache.ts";

const savePeriodMs = 60_000;

/**
 * Keeps what was verified over a restart: when a whole site comes back after a power cut, its agents and the server start at
 * once, and a scrypt for each agent would hold them up for minutes. The digests mean nothing without the key, which is
 * derived from the client CA's and written nowhere.
 */
export class VerifiedCacheFile {
  readonly #cache: VerifiedCache;
  readonly #file: string;
  readonly #clock: Clock;
  readonly #log: Logger;
  #savedVersion = 0;
  #timer: Timer | undefined;

  constructor(cache: VerifiedCache, file: string, clock: Clock, log: Logger) {
    this.#cache = cache;
    this.#file = file;
    this.#clock = clock;
    this.#log = log;
  }

  /** Takes over what the last run left. A file that cannot be read costs only time. */
  async start(key: Uint8Array): Promise<void> {
    this.#cache.restore(key, await this.#load());
    this.#savedVersion = this.#cache.version;
    this.#timer = this.#clock.setInterval(() => void this.#save(), savePeriodMs);
  }

  async stop(): Promise<void> {
    if (this.#timer === undefined) return;
    this.#timer.cancel();
    this.#timer = undefined;
    await this.#save();
  }

  async #load(): Promise<[string, string][]> {
    try {
      const entries: unknown = JSON.parse((await readFileIfExists(this.#file)) ?? "[]");
      return Array.isArray(entries) ? entries.filter(isEntry) : [];
    } catch (error) {
      this.#log.warn({ file: this.#file, reason: errorMessage(error) }, "node passwords are all verified anew");
      return [];
    }
  }

  async #save(): Promise<void> {
    const { version } = this.#cache;
    if (version === this.#savedVersion) return;
    try {
      await writeFileAtomic(this.#file, JSON.stringify(this.#cache.entries()), 0o600);
      this.#savedVersion = version;
    } catch (error) {
      this.#log.warn({ file: this.#file, reason: errorMessage(error) }, "verified node passwords could not be kept");
    }
  }
}

function isEntry(value: unknown): value is [string, string] {
  return Array.isArray(value) && value.length === 2 && value.every((item) => typeof item === "string");
}

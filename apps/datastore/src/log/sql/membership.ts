import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { LogMember } from "../append-log.ts";
import type { SqlDatabase } from "./sql-database.ts";

const heartbeatMs = 10_000;

/** This replica's row among the live ones, and what the last heartbeat said of the others. */
export class Membership {
  readonly #id: bigint;
  readonly #database: SqlDatabase;
  readonly #clock: Clock;
  readonly #log: Logger;
  #own: { name: string; clientUrls: readonly string[] } = { name: "", clientUrls: [] };
  #live: LogMember[] = [];
  #timer: Timer | undefined;

  constructor(id: bigint, database: SqlDatabase, deps: { clock: Clock; log: Logger }) {
    this.#id = id;
    this.#database = database;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  announce(own: { name: string; clientUrls: readonly string[] }): void {
    this.#own = own;
    this.#timer ??= this.#clock.setInterval(() => void this.#beat(), heartbeatMs);
    void this.#beat();
  }

  /** As of the last heartbeat, this replica first. */
  get members(): LogMember[] {
    const own = { id: this.#id, name: this.#own.name, clientUrls: [...this.#own.clientUrls] };
    return [own, ...this.#live.filter(({ id }) => id !== this.#id)];
  }

  get isAlone(): boolean {
    return this.#live.every(({ id }) => id === this.#id);
  }

  async leave(): Promise<void> {
    this.#timer?.cancel();
    await this.#database.forgetMember(this.#id);
  }

  async #beat(): Promise<void> {
    try {
      this.#live = await this.#database.beat({ id: this.#id, ...this.#own });
    } catch (error) {
      this.#log.debug({ error: errorMessage(error) }, "the heartbeat failed");
    }
  }
}

import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ChainableCommander, Redis } from "ioredis";

/** Where a node's session is held: the address of a gateway replica. */
export interface SharedDirectory {
  start(): Promise<void>;
  stop(): Promise<void>;
  /** This replica holds (or no longer holds) a session of the node. Never rejects. */
  publish(nodeName: string, held: boolean): void;
  /** Other replicas that hold a session of the node; none when the directory cannot be asked. */
  lookup(nodeName: string): Promise<readonly string[]>;
  /** Whether the directory answers. */
  readonly available: boolean;
}

/** An entry lives this long unless it is refreshed, so that a killed replica is forgotten. */
const entryLifeMs = 30_000;
const refreshIntervalMs = 10_000;
/** A slow directory must not slow a dial that could fail at once. */
const commandTimeoutMs = 500;

/**
 * Which replica holds which node, in Redis: one hash per node, its fields the replicas, their values until when the entry
 * counts. Without Redis each replica goes on with its own sessions; that is said once, and again when Redis is back. A Redis
 * that accepts connections and answers nothing is as lost as one that is gone: the first command that fails drops the
 * connection, nothing is asked while there is none, and the greeting of the next one is the proof that Redis answers again.
 */
export class RedisDirectory implements SharedDirectory {
  readonly #url: string;
  readonly #self: () => string;
  readonly #heldNodes: () => Iterable<string>;
  readonly #clock: Clock;
  readonly #log: Logger;
  #redis: Redis | undefined;
  #refresh: Timer | undefined;
  #available = false;
  #said = true;

  /** `self` is how other replicas reach this one; `heldNodes` are the nodes with a session here. */
  constructor(url: string, self: () => string, heldNodes: () => Iterable<string>, deps: { clock: Clock; log: Logger }) {
    this.#url = url;
    this.#self = self;
    this.#heldNodes = heldNodes;
    this.#clock = deps.clock;
    this.#log = deps.log;
  }

  get available(): boolean {
    return this.#available;
  }

  async start(): Promise<void> {
    const { Redis } = await import("ioredis");
    const redis = new Redis(this.#url, {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      commandTimeout: commandTimeoutMs,
      connectTimeout: 2_000,
      disconnectTimeout: commandTimeoutMs,
      retryStrategy: (attempt) => Math.min(250 * attempt, 2_000),
    });
    this.#redis = redis;
    redis.on("ready", () => {
      this.#available = true;
      if (!this.#said) this.#log.info("Redis is back: sessions of other replicas can be reached again");
      this.#said = true;
      this.#publishAll();
    });
    redis.on("close", () => this.#lost("connection closed"));
    redis.on("error", (error) => this.#lost(errorMessage(error)));
    this.#refresh = this.#clock.setInterval(() => this.#publishAll(), refreshIntervalMs);
  }

  async stop(): Promise<void> {
    this.#refresh?.cancel();
    const redis = this.#redis;
    this.#redis = undefined;
    if (redis === undefined) return;
    if (this.#available) {
      const pipeline = redis.pipeline();
      for (const node of this.#heldNodes()) pipeline.hdel(keyOf(node), this.#self());
      await this.#run(pipeline);
    }
    redis.disconnect();
  }

  publish(nodeName: string, held: boolean): void {
    if (this.#redis === undefined || !this.#available) return;
    const key = keyOf(nodeName);
    const commands = this.#redis.pipeline();
    if (held) commands.hset(key, this.#self(), this.#clock.now() + entryLifeMs).pexpire(key, 2 * entryLifeMs);
    else commands.hdel(key, this.#self());
    void this.#run(commands);
  }

  async lookup(nodeName: string): Promise<readonly string[]> {
    if (this.#redis === undefined || !this.#available) return [];
    try {
      const entries = await this.#redis.hgetall(keyOf(nodeName));
      const now = this.#clock.now();
      return Object.entries(entries)
        .filter(([replica, until]) => replica !== this.#self() && Number(until) > now)
        .sort(([, a], [, b]) => Number(b) - Number(a))
        .map(([replica]) => replica);
    } catch (error) {
      this.#failed(error);
      return [];
    }
  }

  async #run(commands: ChainableCommander): Promise<void> {
    try {
      for (const [error] of (await commands.exec()) ?? []) if (error !== null) throw error;
    } catch (error) {
      this.#failed(error);
    }
  }

  /** A command failed on a connection that seems to be up: only a new one shows whether Redis answers. */
  #failed(error: unknown): void {
    const redis = this.#redis;
    this.#lost(errorMessage(error));
    if (redis?.status === "ready") redis.disconnect(true);
  }

  #publishAll(): void {
    for (const node of this.#heldNodes()) this.publish(node, true);
  }

  #lost(reason: string): void {
    if (this.#redis === undefined) return; // we are the ones who left
    this.#available = false;
    if (!this.#said) return;
    this.#said = false;
    this.#log.warn({ reason }, "Redis is lost: only nodes with a session at this very replica can be reached");
  }
}

function keyOf(nodeName: string): string {
  return `keelson:tunnel:${nodeName}`;
}

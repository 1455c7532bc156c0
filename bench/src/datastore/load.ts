import { setTimeout as delay } from "node:timers/promises";
import { Http2Connection } from "./http2-connection.ts";
import { Latencies } from "./latencies.ts";
import * as requests from "./requests.ts";

/** What the load generator is asked to do. */
export interface Job {
  work: Work;
  objects: number;
  /** How long, in milliseconds; `create` ends when every object exists. */
  durationMs: number;
}

export const works = ["create", "update", "get", "list", "watch", "mixed"] as const;
export type Work = (typeof works)[number];

export interface JobResult {
  /** Requests answered; of `list` the objects listed; of `watch` the events delivered. */
  operations: number;
  errors: number;
  seconds: number;
  p50Ms: number;
  p99Ms: number;
  /** Share of one core that the load generator used, 0 to 1: it must stay below what it had. */
  loadCpu: number;
}

/** How a closed loop divides its requests. */
interface Shares {
  get: number;
  update: number;
  list: number;
}

const shares: Record<Exclude<Work, "create" | "watch">, Shares> = {
  update: { get: 0, update: 1, list: 0 },
  get: { get: 1, update: 0, list: 0 },
  list: { get: 0, update: 0, list: 1 },
  mixed: { get: 0.7, update: 0.2, list: 0.1 },
};

const clients = 64;
const connections = 8;
const watchers = 100;
/** Below what any target saturates at, so that the latency of delivery is seen and not that of a queue. */
const watchedUpdatesPerSecond = 50;
const watchSettleMs = 1_000;

/** The state of a load against one server: its connections and the revision of every object. */
export class Load {
  readonly #connections: Http2Connection[];
  #revisions: Int32Array = new Int32Array(0);
  #latencies = new Latencies();
  #operations = 0;
  #errors = 0;

  private constructor(opened: Http2Connection[]) {
    this.#connections = opened;
  }

  static async connect(url: string): Promise<Load> {
    return new Load(await Promise.all(Array.from({ length: connections }, () => Http2Connection.open(url))));
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  async run({ work, objects, durationMs }: Job): Promise<JobResult> {
    this.#latencies = new Latencies();
    this.#operations = 0;
    this.#errors = 0;
    const cpuBefore = process.cpuUsage();
    const start = performance.now();
    const until = start + durationMs;
    switch (work) {
      case "create":
        await this.#create(objects);
        break;
      case "watch":
        await this.#watch(objects, durationMs);
        break;
      default:
        await this.#loop(until, objects, shares[work]);
    }
    const elapsedMs = performance.now() - start;
    const cpu = process.cpuUsage(cpuBefore);
    return {
      operations: this.#operations,
      errors: this.#errors,
      seconds: elapsedMs / 1_000,
      p50Ms: this.#latencies.percentile(0.5),
      p99Ms: this.#latencies.percentile(0.99),
      loadCpu: (cpu.user + cpu.system) / 1_000 / elapsedMs,
    };
  }

  async #create(objects: number): Promise<void> {
    this.#revisions = new Int32Array(objects);
    let next = 0;
    await this.#clients(async (connection) => {
      while (next < objects) {
        const index = next++;
        const answer = await this.#timed(connection, requests.paths.txn, requests.create.fill(index));
        if (answer !== undefined) this.#guarded(index, answer);
        this.#operations++;
      }
    });
  }

  /** Closed loop: each client asks again as soon as it is answered. */
  async #loop(until: number, objects: number, { get, update, list }: Shares): Promise<void> {
    const random = generator(1);
    await this.#clients(async (connection, client) => {
      // A client updates its own slice of the objects, so that its guards hold.
      const slice = Math.floor(objects / clients);
      let page = { from: 0, revision: 0 };
      while (performance.now() < until) {
        const dice = random();
        const index = client * slice + Math.floor(random() * slice);
        if (dice < get) {
          await this.#timed(connection, requests.paths.range, requests.get.fill(index));
          this.#operations++;
        } else if (dice < get + update) {
          const request = requests.update.fill(index, this.#revisions[index]!);
          const answer = await this.#timed(connection, requests.paths.txn, request);
          if (answer !== undefined) this.#guarded(index, answer);
          this.#operations++;
        } else {
          const answer = await this.#timed(
            connection,
            requests.paths.range,
            requests.listPage(page.from, page.revision),
          );
          if (answer === undefined) page = { from: 0, revision: 0 };
          else {
            const { lastIndex, more, revision } = requests.readPage(answer);
            // A pure list counts objects; in the mix a page is one request like any other.
            this.#operations += list === 1 ? lastIndex - page.from + 1 : 1;
            page = more ? { from: lastIndex + 1, revision: page.revision || revision } : { from: 0, revision: 0 };
          }
        }
      }
    });
  }

  /** Updates at a fixed rate under watchers of the whole prefix: the time from sending an update to its event. */
  async #watch(objects: number, durationMs: number): Promise<void> {
    const total = Math.floor((durationMs / 1_000) * watchedUpdatesPerSecond);
    const sentAt = new Float64Array(total + 1);
    const seen = Array.from({ length: watchers }, () => new Uint8Array(total + 1));
    let expected = total * watchers;
    let isDone = false;
    let finish!: () => void;
    const allSeen = new Promise<void>((resolve) => {
      finish = resolve;
    });
    let created = 0;
    let allCreated!: () => void;
    const ready = new Promise<void>((resolve) => {
      allCreated = resolve;
    });
    seen.forEach((marks, watcher) => {
      let isFirst = true;
      const connection = this.#connections[watcher % connections]!;
      const onMessage = (message: Buffer): void => {
        if (isFirst) {
          isFirst = false;
          if (++created === watchers) allCreated();
          return;
        }
        for (const sequence of requests.sequencesIn(message)) {
          if (sequence === 0 || sequence > total || marks[sequence] === 1) continue;
          marks[sequence] = 1;
          this.#latencies.add(performance.now() - sentAt[sequence]!);
          this.#operations++;
          if (--expected === 0) finish();
        }
      };
      connection.stream(requests.paths.watch, requests.watchPrefix, onMessage, () => {
        if (!isDone) this.#errors++;
      });
    });
    await ready;
    const start = performance.now();
    for (let sequence = 1; sequence <= total; sequence++) {
      const dueMs = start + (sequence / watchedUpdatesPerSecond) * 1_000 - performance.now();
      if (dueMs > 1) await delay(dueMs);
      const connection = this.#connections[sequence % connections]!;
      const index = sequence % objects;
      sentAt[sequence] = performance.now();
      connection.unary(requests.paths.put, requests.put.fill(index, 0, sequence), (answer) => {
        if (answer === undefined) this.#errors++;
        else this.#revisions[index] = requests.readHeader(answer).revision;
      });
    }
    await Promise.race([allSeen, delay(durationMs + 10_000)]);
    this.#errors += expected;
    isDone = true;
    await delay(watchSettleMs);
  }

  async #clients(client: (connection: Http2Connection, index: number) => Promise<void>): Promise<void> {
    await Promise.all(
      Array.from({ length: clients }, (_, index) => client(this.#connections[index % connections]!, index)),
    );
  }

  #timed(connection: Http2Connection, path: string, request: Buffer): Promise<Buffer | undefined> {
    return new Promise((resolve) => {
      const start = performance.now();
      connection.unary(path, request, (answer) => {
        if (answer === undefined) this.#errors++;
        else this.#latencies.add(performance.now() - start);
        resolve(answer);
      });
    });
  }

  #guarded(index: number, answer: Buffer): void {
    const { succeeded, revision } = requests.readHeader(answer);
    if (succeeded) this.#revisions[index] = revision;
    else this.#errors++;
  }
}

/** Random numbers that are the same in every run (xorshift32), so that every target gets the same load. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

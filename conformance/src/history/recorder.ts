import { createEtcdClient, type EtcdClient, type Watch } from "@keelson/etcd-client";
import { compareTargets, type Event, services } from "@keelson/protocol/etcd";
import type { Answer, Call, Operation, WatchedEvent, WatchHistory } from "./operation.ts";

/** Keys that are written at the same time; a set is replaced by the next one before its histories get long. */
const keysPerSet = 4;
const setLifetimeMs = 3_000;
const thinkMs = 8;
/** A client does not hammer a server that is away. */
const afterFailureMs = 50;
const callTimeoutMs = 4_000;
export const keyPrefix = "history/";
const prefixEnd = Buffer.from("history0");

/** Runs clients against replicas and writes down what they ask and what they are told. */
export class Recorder {
  readonly operations: Operation[] = [];
  readonly watches: WatchHistory[] = [];
  readonly #clients: EtcdClient[] = [];
  readonly #open: Watch[] = [];
  #running = false;
  #loops: Promise<void>[] = [];
  #values = 0;
  #startedMs = performance.now();

  /** `clientsPerReplica` clients at each url, and one watch at each. */
  start(urls: readonly string[], clientsPerReplica: number): void {
    this.#running = true;
    this.#startedMs = performance.now();
    urls.forEach((url, replica) => {
      // The watch changes over to the other replica when its own is away; what a client was told must not be repeated there.
      const others = urls.filter((other) => other !== url);
      const watcher = createEtcdClient({ endpoints: [url, ...others] });
      this.#clients.push(watcher);
      this.#watch(watcher, `watch ${replica}`, 1);
      for (let index = 0; index < clientsPerReplica; index++) {
        const client = createEtcdClient({ endpoints: [url], timeoutMs: callTimeoutMs });
        this.#clients.push(client);
        this.#loops.push(this.#loop(client, replica * clientsPerReplica + index));
      }
    });
  }

  /** Answers since `sinceMs` (of `performance.now()`), by the url's index order of clients. */
  answeredSince(sinceMs: number, client: number): boolean {
    for (let index = this.operations.length - 1; index >= 0; index--) {
      const operation = this.operations[index]!;
      if (operation.client !== client) continue;
      if (operation.answer !== undefined && operation.startMs > sinceMs) return true;
      if (operation.startMs < sinceMs) return false;
    }
    return false;
  }

  /** Ends the clients. The watches go on until they have seen `revision`. */
  async stopClients(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  async untilWatched(revision: number, timeoutMs: number): Promise<void> {
    const deadline = performance.now() + timeoutMs;
    const isBehind = ({ events }: WatchHistory): boolean => (events.at(-1)?.revision ?? 0) < revision;
    while (this.watches.some(isBehind) && performance.now() < deadline) await pause(20);
  }

  close(): void {
    for (const watch of this.#open) watch.cancel();
    for (const client of this.#clients) client.close();
  }

  #watch(client: EtcdClient, name: string, startRevision: number): void {
    const history: WatchHistory = { name, afterRevision: startRevision - 1, events: [] };
    this.watches.push(history);
    this.#open.push(watchInto(client, history));
  }

  async #loop(client: EtcdClient, number: number): Promise<void> {
    /** What this client last read of a key: the guard of its next update. */
    const seen = new Map<string, { value: string; modRevision: number }>();
    while (this.#running) {
      const set = Math.floor((performance.now() - this.#startedMs) / setLifetimeMs);
      const key = `${keyPrefix}${set}-${Math.floor(Math.random() * keysPerSet)}`;
      const known = seen.get(key);
      const call = this.#choose(known?.value, number);
      const operation: Operation = {
        client: number,
        key,
        call,
        startMs: performance.now(),
        endMs: Number.POSITIVE_INFINITY,
        answer: undefined,
      };
      this.operations.push(operation);
      try {
        const answer = await ask(client, key, call, known?.modRevision ?? 0);
        operation.endMs = performance.now();
        operation.answer = answer;
        if (call.kind === "read" && answer.value !== undefined) {
          seen.set(key, { value: answer.value, modRevision: answer.modRevision! });
        }
      } catch {
        // Without an answer, whatever the reason: the write may have happened.
        await pause(afterFailureMs);
      }
      await pause(Math.random() * thinkMs * 2);
    }
  }

  #choose(known: string | undefined, client: number): Call {
    const dice = Math.random();
    const value = `${client}.${this.#values++}`;
    if (dice < 0.4) return { kind: "read" };
    if (dice < 0.7 && known !== undefined) return { kind: "update", expected: known, value };
    if (dice < 0.95) return { kind: "put", value };
    return { kind: "delete" };
  }
}

async function ask(client: EtcdClient, keyText: string, call: Call, modRevision: number): Promise<Answer> {
  const key = Buffer.from(keyText);
  switch (call.kind) {
    case "read": {
      const { header, kvs } = await client.range({ key });
      const [kv] = kvs;
      const found =
        kv === undefined ? { value: undefined } : { value: kv.value.toString(), modRevision: kv.modRevision };
      return { ...found, revision: header!.revision };
    }
    case "put": {
      const { header } = await client.put({ key, value: Buffer.from(call.value) });
      return { revision: header!.revision };
    }
    case "update": {
      const { header, succeeded } = await client.txn({
        compare: [{ key, target: compareTargets.mod, modRevision }],
        success: [{ requestPut: { key, value: Buffer.from(call.value) } }],
        failure: [{ requestRange: { key } }],
      });
      return { succeeded, revision: header!.revision };
    }
    case "delete": {
      const { header, deleted } = await client.deleteRange({ key });
      return { succeeded: deleted > 0, revision: header!.revision };
    }
  }
}

function watchInto(client: EtcdClient, history: WatchHistory): Watch {
  return client.watch(
    { key: Buffer.from(keyPrefix), rangeEnd: prefixEnd, prevKv: true, startRevision: history.afterRevision + 1 },
    {
      onEvents: (events) => history.events.push(...events.map(watchedEvent)),
      onEnd: (error) => {
        // Shows as events that the watch missed.
        console.error(`${history.name} ended: ${error.message}`);
      },
    },
  );
}

function watchedEvent({ type, kv, prevKv }: Event): WatchedEvent {
  return {
    key: kv!.key.toString(),
    value: type === 0 ? kv!.value.toString() : undefined,
    revision: kv!.modRevision,
    before: prevKv?.value.toString(),
  };
}

/** Reads the whole log from its beginning, and what the store holds at its end. */
export async function readLog(client: EtcdClient): Promise<{ log: WatchHistory; final: Map<string, string> }> {
  const log: WatchHistory = { name: "log", afterRevision: 0, events: [] };
  const key = Buffer.from(keyPrefix);
  const { header, kvs } = await client.call(services.kv.range, { key, rangeEnd: prefixEnd });
  const watch = watchInto(client, log);
  const newest = Math.max(0, ...kvs.map(({ modRevision }) => modRevision));
  const deadline = performance.now() + 30_000;
  while ((log.events.at(-1)?.revision ?? 0) < newest) {
    if (performance.now() > deadline)
      throw new Error(`the log did not reach revision ${newest} of ${header?.revision}`);
    await pause(20);
  }
  await pause(200); // deletions newer than every key that is left
  watch.cancel();
  return { log, final: new Map(kvs.map((kv) => [kv.key.toString(), kv.value.toString()])) };
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}

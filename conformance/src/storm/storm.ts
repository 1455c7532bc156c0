import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { compareTargets, type Event } from "@keelson/protocol/etcd";

export interface StormOptions {
  url: string;
  /** Clients, each with a connection of its own. */
  clients: number;
  watchers: number;
  createsPerClient: number;
}

export interface StormResult {
  creates: number;
  /** Requests that failed, by their message. */
  errors: Map<string, number>;
  /** What watchers missed, saw twice or out of order; empty when every one saw every event once and in order. */
  violations: string[];
  seconds: number;
}

const prefix = "storm/";
const prefixEnd = Buffer.from("storm0");
/** A storm is a queue: the last client waits for all the others. */
const callTimeoutMs = 60_000;
const deliveryTimeoutMs = 60_000;

/** Many clients create at the same time under watchers of everything: no error, every event once and in order. */
export async function runStorm({ url, clients, watchers, createsPerClient }: StormOptions): Promise<StormResult> {
  const total = clients * createsPerClient;
  const all = Array.from({ length: clients }, () =>
    createEtcdClient({ endpoints: [url], timeoutMs: callTimeoutMs, silenceMs: callTimeoutMs }),
  );
  const watching = await Promise.all(
    Array.from({ length: watchers }, (_, index) => Watcher.begin(url, `watcher ${index}`)),
  );
  const errors = new Map<string, number>();
  const revisions = new Map<string, number>();
  const startMs = performance.now();
  await Promise.all(
    all.map(async (client, index) => {
      for (let count = 0; count < createsPerClient; count++) {
        const key = `${prefix}${index}-${count}`;
        try {
          revisions.set(key, await create(client, key));
        } catch (error) {
          const message = error instanceof Error ? error.message : String(error);
          errors.set(message, (errors.get(message) ?? 0) + 1);
        }
      }
    }),
  );
  const seconds = (performance.now() - startMs) / 1_000;
  const violations: string[] = [];
  for (const watcher of watching) violations.push(...(await watcher.finish(revisions)));
  for (const client of all) client.close();
  return { creates: total, errors, violations, seconds };
}

async function create(client: EtcdClient, key: string): Promise<number> {
  const { succeeded, header } = await client.txn({
    compare: [{ key: Buffer.from(key), target: compareTargets.mod, modRevision: 0 }],
    success: [{ requestPut: { key: Buffer.from(key), value: Buffer.from(key) } }],
  });
  if (!succeeded) throw new Error("a new key was refused");
  return header!.revision;
}

class Watcher {
  readonly #name: string;
  readonly #client: EtcdClient;
  readonly #events: Event[] = [];

  private constructor(url: string, name: string) {
    this.#name = name;
    this.#client = createEtcdClient({ endpoints: [url] });
  }

  static async begin(url: string, name: string): Promise<Watcher> {
    const watcher = new Watcher(url, name);
    await new Promise<void>((resolve, reject) => {
      watcher.#client.watch(
        { key: Buffer.from(prefix), rangeEnd: prefixEnd },
        { onCreated: () => resolve(), onEvents: (events) => watcher.#events.push(...events), onEnd: reject },
      );
    });
    return watcher;
  }

  /** Waits for the rest and tells what was not as it should be. */
  async finish(revisions: ReadonlyMap<string, number>): Promise<string[]> {
    const deadline = performance.now() + deliveryTimeoutMs;
    while (this.#events.length < revisions.size && performance.now() < deadline) {
      await new Promise((done) => setTimeout(done, 10));
    }
    this.#client.close();
    const violations: string[] = [];
    const seen = new Set<string>();
    let last = 0;
    for (const { kv } of this.#events) {
      const key = kv!.key.toString();
      if (seen.has(key)) violations.push(`${this.#name} saw ${key} twice`);
      seen.add(key);
      if (kv!.modRevision <= last) violations.push(`${this.#name} saw ${key} out of order`);
      last = kv!.modRevision;
      const revision = revisions.get(key);
      if (revision !== undefined && revision !== last) violations.push(`${this.#name} saw ${key} at another revision`);
    }
    for (const key of revisions.keys()) if (!seen.has(key)) violations.push(`${this.#name} missed ${key}`);
    return violations;
  }
}

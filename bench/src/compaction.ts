import { parseArgs } from "node:util";
import { type Backend, backends, startAdapter, startBackend } from "@keelson/conformance";
import { createEtcdClient, type EtcdClient } from "@keelson/etcd-client";
import { Latencies } from "./datastore/latencies.ts";

/**
 * `npm run bench -- compaction [--backend sqlite,postgres,mariadb] [--rows 120000]`: how long compaction keeps writers
 * waiting. Writers update keys of their own without a break; then everything they have superseded is compacted away
 * beside them. What counts is the longest time in which no write at all was acknowledged.
 */
const bars = { longestGapMs: 50 };
const writers = 8;
const value = Buffer.alloc(512, "v");
/** Before the compaction, for comparison: what the disk and the machine do to writers by themselves. */
const calmMs = 5_000;
/** Old versions are made by transactions of this many puts, which is faster. */
const putsPerTxn = 100;
/** Nothing is compacted but what the bench asks for. */
const noCompaction = { compaction: { retentionMs: 0, minRetain: 0, maxRetain: 0 } };

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      backend: { type: "string", default: backends.join() },
      rows: { type: "string", default: "120000" },
    },
  });
  let met = true;
  for (const backend of values.backend.split(",") as Backend[])
    met = (await measure(backend, Number(values.rows))) && met;
  return met ? 0 : 1;
}

async function measure(backend: Backend, rows: number): Promise<boolean> {
  const store = await startBackend(backend);
  const adapter = await startAdapter(store.freshEndpoint(), noCompaction);
  const client = createEtcdClient({ endpoints: [adapter.url], timeoutMs: 120_000 });
  try {
    await supersede(client, rows);
    const calm = await watchWriters(client, () => new Promise((done) => setTimeout(done, calmMs)));
    const busy = await watchWriters(client, async () => {
      const { header } = await client.range({ key: Buffer.from("w/0") });
      // Resolves when the last superseded row is deleted.
      await client.compact({ revision: header!.revision, physical: true });
    });
    const rate = Math.round(rows / (busy.durationMs / 1_000));
    console.log(`${backend}: ${rows} rows compacted in ${(busy.durationMs / 1_000).toFixed(1)} s (${rate} rows/s)`);
    console.log(`  before ${describe(calm)}`);
    console.log(`  during ${describe(busy)}`);
    const isMet = busy.longestGapMs <= bars.longestGapMs;
    console.log(`  bar: longest gap ${bars.longestGapMs} ms ${isMet ? "met" : "missed"}`);
    return isMet;
  } finally {
    client.close();
    await adapter.process.stop();
    await store.close();
  }
}

/** Leaves `rows` superseded versions behind. */
async function supersede(client: EtcdClient, rows: number): Promise<void> {
  const success = Array.from({ length: putsPerTxn }, (_, index) => ({
    requestPut: { key: Buffer.from(`old/${index}`), value },
  }));
  for (let done = -putsPerTxn; done < rows; done += putsPerTxn) await client.txn({ success });
}

interface Observed {
  durationMs: number;
  writes: number;
  latencies: Latencies;
  /** Between two acknowledgements, whoever got them. */
  longestGapMs: number;
}

/** Lets the writers write until `work` is done. */
async function watchWriters(client: EtcdClient, work: () => Promise<void>): Promise<Observed> {
  const startedMs = performance.now();
  const observed: Observed = { durationMs: 0, writes: 0, latencies: new Latencies(), longestGapMs: 0 };
  let isOver = false;
  let lastMs = startedMs;
  const writing = Array.from({ length: writers }, async (_, index) => {
    const key = Buffer.from(`w/${index}`);
    while (!isOver) {
      const sentMs = performance.now();
      await client.put({ key, value });
      const nowMs = performance.now();
      observed.latencies.add(nowMs - sentMs);
      observed.longestGapMs = Math.max(observed.longestGapMs, nowMs - lastMs);
      observed.writes++;
      lastMs = nowMs;
    }
  });
  await work();
  isOver = true;
  await Promise.all(writing);
  observed.durationMs = performance.now() - startedMs;
  return observed;
}

function describe({ writes, durationMs, latencies, longestGapMs }: Observed): string {
  const perSecond = Math.round(writes / (durationMs / 1_000));
  const [p50, p99, slowest] = [0.5, 0.99, 1].map((part) => latencies.percentile(part).toFixed(1));
  return `${perSecond} writes/s, p50 ${p50} ms, p99 ${p99} ms, slowest ${slowest} ms, longest gap ${longestGapMs.toFixed(1)} ms`;
}

import { parseArgs } from "node:util";
import { type Backend, startAdapter, startBackend } from "@keelson/conformance";
import { createEtcdClient } from "@keelson/etcd-client";
import { rangeRequest } from "@keelson/protocol/etcd";
import pg from "pg";
import { Http2Connection } from "./datastore/http2-connection.ts";
import { Latencies } from "./datastore/latencies.ts";
import { paths } from "./datastore/requests.ts";
import { residentMiB } from "./resident-memory.ts";

/**
 * `npm run bench -- million-keys [--backend sqlite] [--keys 1000000]`: what a large store costs. Fills it, starts the
 * adapter anew and measures start to ready, pages of 500 and resident memory.
 */
const bars = { startMs: 15_000, pageP99Ms: 20, residentMiB: 600e6 / 2 ** 20 };
const valueBytes = 1_024;
const putsPerTxn = 100;
/** A database server with room for its data, as one would set it up; the adapter's own memory is what is measured. */
const databaseBufferMiB = 2_048;
/** Enough for full commits. */
const writers = 48;
const pageSize = 500;
/** Pages between one read and the next; a prime, so that every page has its turn. */
const stride = 7_919;
const prefix = "/registry/million/";
const prefixEnd = Buffer.from("/registry/million0");
const keyOf = (index: number): Buffer => Buffer.from(`${prefix}${String(index).padStart(8, "0")}`);

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      backend: { type: "string", default: "sqlite" },
      keys: { type: "string", default: "1000000" },
    },
  });
  const keys = Number(values.keys);
  const backend = await startBackend(values.backend as Backend, { bufferMiB: databaseBufferMiB });
  try {
    const endpoint = backend.freshEndpoint();
    const fillStartedMs = performance.now();
    await fill(endpoint, keys);
    if (backend.backend === "postgres") await settle(endpoint);
    const startedMs = performance.now();
    const fillMs = startedMs - fillStartedMs;
    const adapter = await startAdapter(endpoint);
    const startMs = performance.now() - startedMs;
    const pages = await readPages(adapter.url, keys);
    console.log(`filled in ${Math.round(fillMs / 1_000)} s; page p50 ${pages.percentile(0.5).toFixed(1)} ms`);
    const measured = {
      startMs,
      pageP99Ms: pages.percentile(0.99),
      residentMiB: residentMiB(adapter.process.pid),
    };
    await adapter.process.stop();
    console.log(`${values.backend}, ${keys.toLocaleString("en")} keys of ${valueBytes} bytes`);
    let met = true;
    for (const [name, bar] of Object.entries(bars) as [keyof typeof bars, number][]) {
      met &&= measured[name] <= bar;
      console.log(
        `${name.padEnd(12)} ${measured[name].toFixed(1).padStart(10)}   bar ${Math.round(bar)} ${measured[name] <= bar ? "met" : "missed"}`,
      );
    }
    return met ? 0 : 1;
  } finally {
    await backend.close();
  }
}

async function fill(endpoint: string, keys: number): Promise<void> {
  const adapter = await startAdapter(endpoint);
  const client = createEtcdClient({ endpoints: [adapter.url], timeoutMs: 60_000 });
  let next = 0;
  const value = Buffer.alloc(valueBytes, "v");
  await Promise.all(
    Array.from({ length: writers }, async () => {
      while (next < keys) {
        const from = next;
        next += putsPerTxn;
        const count = Math.min(putsPerTxn, keys - from);
        const success = Array.from({ length: count }, (_, index) => ({
          requestPut: { key: keyOf(from + index), value },
        }));
        await client.txn({ success });
      }
    }),
  );
  client.close();
  await adapter.process.stop();
}

/** Lets PostgreSQL do at once what the fill leaves it to do, which would otherwise go on beside the reads for minutes. */
async function settle(endpoint: string): Promise<void> {
  const client = new pg.Client(endpoint);
  await client.connect();
  await client.query("VACUUM (ANALYZE)");
  await client.query("CHECKPOINT");
  await client.end();
}

/** Every page of the store once, one after another and far from the one before, by a client that costs next to nothing. */
async function readPages(url: string, keys: number): Promise<Latencies> {
  const latencies = new Latencies();
  const connection = await Http2Connection.open(url);
  const count = Math.ceil(keys / pageSize);
  for (let page = 0; page < count; page++) {
    const key = keyOf(((page * stride) % count) * pageSize);
    const request = rangeRequest.encode({ key, rangeEnd: prefixEnd, limit: pageSize });
    const start = performance.now();
    const answer = await new Promise<Buffer | undefined>((resolve) => {
      connection.unary(paths.range, request, resolve);
    });
    latencies.add(performance.now() - start);
    if (answer === undefined) throw new Error(`page ${page} could not be read`);
  }
  connection.close();
  return latencies;
}

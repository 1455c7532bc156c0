import { spawn } from "node:child_process";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { requireBinary } from "../host-binaries.ts";
import { type AdapterServer, type Backend, backends, startAdapter, startBackend } from "../servers/adapter.ts";
import { startEtcd } from "../servers/etcd.ts";

const stores = [...backends, "etcd"] as const;
type Store = (typeof stores)[number];

const usage = `usage: npm run conformance -- check-perf [options]
  --backend b    ${stores.join(", ")} (all; etcd is an adapter that passes requests on)
  --load l       s (150 writes/s, 50 clients), m (1000, 200), l (8000, 500), xl (15000, 1000) (s,m)
Each load takes a minute on each backend.`;

/** `etcdctl check perf` against the adapter on each backend; what it prints is the verdict. */
export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      backend: { type: "string", default: stores.join() },
      load: { type: "string", default: "s,m" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  let failures = 0;
  for (const store of values.backend.split(",") as Store[]) {
    const server = await startStore(store);
    try {
      for (const load of values.load.split(",")) {
        const { exitCode, verdict } = await checkPerf(server.adapter.url, load);
        for (const line of verdict) console.log(`${store}, load ${load}: ${line}`);
        if (exitCode !== 0) failures++;
      }
    } finally {
      await server.close();
    }
  }
  return failures === 0 ? 0 : 1;
}

async function startStore(store: Store): Promise<{ adapter: AdapterServer; close(): Promise<void> }> {
  const { endpoint, close } = await (store === "etcd" ? startUpstream() : startDatabase(store));
  const adapter = await startAdapter(endpoint);
  return {
    adapter,
    close: async () => {
      await adapter.process.stop();
      await close();
    },
  };
}

async function startUpstream(): Promise<{ endpoint: string; close(): Promise<void> }> {
  const etcd = await startEtcd();
  return { endpoint: etcd.url, close: () => etcd.close() };
}

/** Room for what etcdctl writes: at its end it deletes all of it in one request. */
const databaseBufferMiB = 512;

async function startDatabase(backend: Backend): Promise<{ endpoint: string; close(): Promise<void> }> {
  const server = await startBackend(backend, { bufferMiB: databaseBufferMiB });
  return { endpoint: server.freshEndpoint(), close: () => server.close() };
}

/** Lines that begin with PASS or FAIL, and whatever went wrong. The progress bar is left out. */
async function checkPerf(url: string, load: string): Promise<{ exitCode: number; verdict: string[] }> {
  const child = spawn(requireBinary("etcdctl"), ["--endpoints", url, "check", "perf", "--load", load], {
    env: { PATH: process.env.PATH, ETCDCTL_API: "3" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const [exitCode] = (await once(child, "close")) as [number | null];
  const lines = output.split(/[\r\n]+/).filter((line) => line !== "" && !/^\s*\d+ \/ \d+ /.test(line));
  return { exitCode: exitCode ?? 1, verdict: lines };
}

import { randomInt } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { type Backend, backends, startAdapter, startBackend } from "../servers/adapter.ts";
import { startEtcd } from "../servers/etcd.ts";
import { runDifferential } from "./differential.ts";
import { Session } from "./session.ts";

const usage = `usage: npm run conformance -- [differential] [options]
  --minutes n    how long, for all backends together (1)
  --backend b    ${backends.join(", ")} (all)
  --seed n       begin with this seed (random)`;

/** Scripts before the servers are asked to report progress and a new seed is taken. */
const scriptsPerSeed = 50;
const exitNoticeMs = 1_000;
const maxSeed = 2 ** 31 - 1;

/** Compares Debian's etcd with the adapter on each backend, for as long as one likes. */
export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      minutes: { type: "string", default: "1" },
      backend: { type: "string" },
      seed: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const chosen = values.backend === undefined ? [...backends] : (values.backend.split(",") as Backend[]);
  const shareMs = (Number(values.minutes) * 60_000) / chosen.length;
  const firstSeed = values.seed === undefined ? randomInt(maxSeed) : Number(values.seed);
  let failures = 0;
  for (const backend of chosen) {
    if (!(await compare(backend, firstSeed, performance.now() + shareMs))) failures++;
  }
  return failures === 0 ? 0 : 1;
}

/** Servers are started anew only when etcd has panicked, which 3.4 does on a few transactions; its scripts count no more. */
async function compare(backend: Backend, firstSeed: number, until: number): Promise<boolean> {
  const progress = { seed: firstSeed, scripts: 0, steps: 0 };
  while (performance.now() < until) {
    const servers = await startServers(backend);
    try {
      return await compareOn(servers, backend, progress, until);
    } catch (error) {
      const { etcd, adapter } = servers;
      // A lost connection is noticed before the end of the process behind it.
      await delay(exitNoticeMs);
      if (!adapter.process.running) console.error(`${backend}: the adapter ended: ${adapter.process.output}`);
      if (etcd.process.running || !adapter.process.running) throw error;
      const panic = /^panic: .*$/m.exec(etcd.process.output)?.[0] ?? "no panic";
      console.log(`${backend}: seed ${progress.seed} ended etcd itself (${panic}); going on with the next`);
      progress.seed = (progress.seed + 1) % maxSeed;
    } finally {
      await servers.close();
    }
  }
  return true;
}

type Servers = Awaited<ReturnType<typeof startServers>>;

async function startServers(backend: Backend) {
  const etcd = await startEtcd();
  const store = await startBackend(backend);
  const adapter = await startAdapter(store.freshEndpoint());
  const pair = { reference: Session.connect(etcd.url), subject: Session.connect(adapter.url) };
  const close = async (): Promise<void> => {
    pair.reference.close();
    pair.subject.close();
    await adapter.process.stop();
    await store.close();
    await etcd.close();
  };
  return { etcd, adapter, pair, close };
}

/** Whether all answers were alike until the end of the time. `progress` tells how far it came when it throws. */
async function compareOn(
  { pair }: Servers,
  backend: Backend,
  progress: { seed: number; scripts: number; steps: number },
  until: number,
): Promise<boolean> {
  for (; performance.now() < until; progress.seed = (progress.seed + 1) % maxSeed) {
    const { seed } = progress;
    const result = await runDifferential(pair, { seed, scripts: scriptsPerSeed, until });
    progress.scripts += result.scripts;
    progress.steps += result.steps;
    if (result.difference !== undefined) {
      console.error(`${backend}: answered differently, seed ${seed}\n${result.difference}`);
      console.error(`again: npm run conformance -- differential --backend ${backend} --seed ${seed}`);
      return false;
    }
    console.log(`${backend}: seed ${seed}, ${progress.scripts} scripts, ${progress.steps} requests, no difference`);
  }
  return true;
}

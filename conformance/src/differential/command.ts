import { randomInt } from "node:crypto";
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

async function compare(backend: Backend, firstSeed: number, until: number): Promise<boolean> {
  const etcd = await startEtcd();
  const store = await startBackend(backend);
  const adapter = await startAdapter(store.freshEndpoint());
  const pair = { reference: Session.connect(etcd.url), subject: Session.connect(adapter.url) };
  let scripts = 0;
  let steps = 0;
  try {
    for (let seed = firstSeed; performance.now() < until; seed = (seed + 1) % maxSeed) {
      const result = await runDifferential(pair, { seed, scripts: scriptsPerSeed, until });
      scripts += result.scripts;
      steps += result.steps;
      if (result.difference !== undefined) {
        console.error(`${backend}: answered differently, seed ${seed}\n${result.difference}`);
        console.error(`again: npm run conformance -- differential --backend ${backend} --seed ${seed}`);
        return false;
      }
      console.log(`${backend}: seed ${seed}, ${scripts} scripts, ${steps} requests, no difference`);
    }
    return true;
  } finally {
    pair.reference.close();
    pair.subject.close();
    await adapter.process.stop();
    await store.close();
    await etcd.close();
  }
}

import { setTimeout as delay } from "node:timers/promises";
import { ManualClock } from "@keelson/service";
import { expect, test } from "vitest";
import { createLoadBalancer } from "../src/index.ts";
import { FickleServer, type Mood } from "./fickle-server.ts";
import { ping, pingProbe } from "./ping.ts";

const steps = 2_000;
/** Of the balancer's own times and of the limits below: a twentieth, or all of them with KEELSON_CHAOS_SCALE=1 (minutes). */
const scale = Number(process.env.KEELSON_CHAOS_SCALE ?? 1 / 20);
/** Timers do not scale: what they may add. */
const graceMs = 100;
/** What "at once" means, at every scale: a refused dial hands over without any waiting. */
const atOnceMs = 150;

/**
 * How long a new connection may take to be answered, in milliseconds, while a healthy server is listed. A black hole is new
 * until it has been one for as long as its limit.
 */
function limitMsFor(moods: readonly Mood[], hasNewBlackHole: boolean): number {
  if (hasNewBlackHole) return 5_000 * scale + graceMs;
  // Accepted and then cut: only the next probe tells.
  if (moods.includes("silent") || moods.includes("reset")) return 2_000 * scale + graceMs;
  return atOnceMs;
}

/** Follows real time while this process gets the processor, and stands still while it does not: load is no fault here. */
function startWorkingTime(): ManualClock & Disposable {
  const clock = new ManualClock();
  let lastMs = performance.now();
  const timer = setInterval(() => {
    const nowMs = performance.now();
    clock.advance(Math.min(nowMs - lastMs, 5));
    lastMs = nowMs;
  }, 2);
  return Object.assign(clock, { [Symbol.dispose]: () => clearInterval(timer) });
}

/** A small generator of its own, so that a failing run can be repeated with its seed. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test("2000 random faults: a healthy server is always reached in time, and no socket is left", {
  timeout: 120_000 * Math.max(1, 10 * scale),
}, async () => {
  const seed = Number(process.env.KEELSON_CHAOS_SEED ?? Date.now() % 2 ** 31);
  const random = randomNumbers(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const servers = [new FickleServer("a"), new FickleServer("b"), new FickleServer("c")];
  await Promise.all(servers.map((server) => server.start()));
  const listed = new Set(servers);
  using clock = startWorkingTime();
  const balancer = createLoadBalancer(
    {
      name: "chaos",
      servers: [`https://${servers[0]!.address}`],
      listen: { port: 0, hosts: ["127.0.0.1"] },
      probe: pingProbe,
      checkIntervalMs: 1_000 * scale,
      checkTimeoutMs: 1_500 * scale,
      dialTimeoutMs: 2_000 * scale,
      hedgeAfterMs: 250 * scale,
    },
    { clock },
  );
  const pingFor = async (timeoutMs: number): Promise<string> => {
    const abort = new AbortController();
    const timer = clock.setTimeout(() => abort.abort(), timeoutMs);
    try {
      return await ping(balancer.port, abort.signal);
    } finally {
      timer.cancel();
    }
  };
  const dwell = (): Promise<void> => new Promise((done) => clock.setTimeout(done, random() * 250 * scale));
  await balancer.start();
  balancer.setServers([...listed].map(({ address }) => address));

  const silentSinceMs = new Map<FickleServer, number>();
  let twoActiveSinceMs: number | undefined;
  for (let step = 0; step < steps; step++) {
    const server = pick(servers);
    const action = random();
    if (action < 0.6) await server.become(pick<Mood>(["ok", "ok", "ok", "ok", "slow", "silent", "reset", "refuse"]));
    else if (action < 0.7 && listed.size > 1) listed.delete(server);
    else if (action < 0.8) listed.add(server);
    if (action >= 0.6 && action < 0.8) balancer.setServers([...listed].map(({ address }) => address));

    const usable = [...listed].filter(({ healthy }) => healthy);
    if (usable.length === 0) {
      const saved = pick([...listed]);
      await saved.become("ok");
      usable.push(saved);
    }
    for (const each of servers) {
      if (each.mood !== "silent") silentSinceMs.delete(each);
      else if (!silentSinceMs.has(each)) silentSinceMs.set(each, clock.monotonic());
    }
    const newSinceMs = clock.monotonic() - 5_000 * scale;
    const hasNewBlackHole = [...silentSinceMs.values()].some((sinceMs) => sinceMs > newSinceMs);
    const limitMs = limitMsFor(
      servers.map(({ mood }) => mood),
      hasNewBlackHole,
    );
    const startedMs = clock.monotonic();
    for (;;) {
      try {
        await pingFor(limitMs - (clock.monotonic() - startedMs));
        break;
      } catch (error) {
        if (clock.monotonic() - startedMs < limitMs) continue;
        const moods = servers.map(({ name, mood, address }) => `${name} ${address} ${mood}`).join(", ");
        const states = JSON.stringify(balancer.servers());
        throw new Error(`step ${step} of seed ${seed}: no answer in ${limitMs} ms; ${moods}; ${states}`, {
          cause: error,
        });
      }
    }
    const active = balancer.servers().filter(({ state }) => state === "active").length;
    twoActiveSinceMs = active > 1 ? (twoActiveSinceMs ?? clock.monotonic()) : undefined;
    if (twoActiveSinceMs !== undefined) expect(clock.monotonic() - twoActiveSinceMs).toBeLessThan(5_000 * scale);
    await dwell();
  }

  await delay(100);
  await balancer.stop();
  await delay(100);
  expect(balancer.connections).toBe(0);
  expect(servers.map(({ connections }) => connections)).toEqual([0, 0, 0]);
  await Promise.all(servers.map((server) => server.stop()));
});

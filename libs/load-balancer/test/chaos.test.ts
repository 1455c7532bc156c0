import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { createLoadBalancer } from "../src/index.ts";
import { FickleServer, type Mood } from "./fickle-server.ts";
import { ping, pingProbe } from "./ping.ts";

const steps = 2_000;
/** The balancer's own times, twenty times faster; so are the limits below (2 s and 5 s at full size). */
const scale = 1 / 20;
/** Timers and a busy machine do not scale: what they may add. */
const graceMs = 250;

/** A small generator of its own, so that a failing run can be repeated with its seed. */
function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

test("2000 random faults: a healthy server is always reached in time, and no socket is left", {
  timeout: 120_000,
}, async () => {
  const seed = Number(process.env.KEELSON_CHAOS_SEED ?? Date.now() % 2 ** 31);
  const random = randomNumbers(seed);
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  const servers = [new FickleServer("a"), new FickleServer("b"), new FickleServer("c")];
  await Promise.all(servers.map((server) => server.start()));
  const listed = new Set(servers);
  const balancer = createLoadBalancer({
    name: "chaos",
    servers: [`https://${servers[0]!.address}`],
    listen: { port: 0, hosts: ["127.0.0.1"] },
    probe: pingProbe,
    checkIntervalMs: 1_000 * scale,
    checkTimeoutMs: 1_500 * scale,
    dialTimeoutMs: 2_000 * scale,
    hedgeAfterMs: 250 * scale,
  });
  await balancer.start();
  balancer.setServers([...listed].map(({ address }) => address));

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
    // Only refused ones among the others: no waiting at all. Silent ones cost a check, the first time.
    const quiet = servers.some(({ mood }) => mood === "silent");
    const limitMs = (quiet ? 5_000 : 2_000) * scale + graceMs;
    const started = performance.now();
    for (;;) {
      const left = limitMs - (performance.now() - started);
      try {
        await ping(balancer.port, AbortSignal.timeout(Math.max(1, Math.ceil(left))));
        break;
      } catch (error) {
        if (performance.now() - started < limitMs) continue;
        const moods = servers.map(({ name, mood, address }) => `${name} ${address} ${mood}`).join(", ");
        const states = JSON.stringify(balancer.servers());
        throw new Error(`step ${step} of seed ${seed}: no answer in ${limitMs} ms; ${moods}; ${states}`, {
          cause: error,
        });
      }
    }
    const active = balancer.servers().filter(({ state }) => state === "active").length;
    twoActiveSinceMs = active > 1 ? (twoActiveSinceMs ?? performance.now()) : undefined;
    if (twoActiveSinceMs !== undefined) expect(performance.now() - twoActiveSinceMs).toBeLessThan(5_000 * scale);
  }

  await delay(100);
  await balancer.stop();
  await delay(100);
  expect(balancer.connections).toBe(0);
  expect(servers.map(({ connections }) => connections)).toEqual([0, 0, 0]);
  await Promise.all(servers.map((server) => server.stop()));
});

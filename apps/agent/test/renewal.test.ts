import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type Clock, systemClock } from "@keelson/service";
import { afterEach, beforeEach, expect, test } from "vitest";
import { FakeServer } from "./support/fake-server.ts";
import { startAgent } from "./support/start-agent.ts";

let server: FakeServer;

beforeEach(async () => {
  server = await FakeServer.create();
  await server.listen();
});

afterEach(() => server.close());

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;

/** Runs with the real one, but its wall clock can be set, and what waits for an hour or more waits for {@link passHours}. */
class SkippingClock implements Clock {
  #aheadMs = 0;
  readonly #waiting = new Set<() => void>();

  now(): number {
    return systemClock.now() + this.#aheadMs;
  }

  monotonic(): number {
    return systemClock.monotonic();
  }

  setTimeout(fn: () => void, delayMs: number) {
    if (delayMs < hourMs) return systemClock.setTimeout(fn, delayMs);
    this.#waiting.add(fn);
    return { cancel: () => void this.#waiting.delete(fn) };
  }

  setInterval(fn: () => void, periodMs: number) {
    return systemClock.setInterval(fn, periodMs);
  }

  passDays(days: number): void {
    this.#aheadMs += days * dayMs;
    const due = [...this.#waiting];
    this.#waiting.clear();
    for (const fn of due) fn();
  }
}

test("certificates are renewed while the agent runs: new files, new calls use them, the tunnel stays", async () => {
  const clock = new SkippingClock();
  await using started = await startAgent({ servers: [server.url], token: server.token }, clock);
  const { agent, dataDir, log } = started;
  await agent.ready;
  const file = join(dataDir, "agent", "client-kubelet.crt");
  const [before, key] = await Promise.all([readFile(file, "utf8"), readFile(file.replace(".crt", ".key"), "utf8")]);
  const renewed = (): number => log.filter((line) => line.includes("certificates renewed")).length;

  clock.passDays(30);
  expect(renewed()).toBe(0);
  clock.passDays(270);
  await expect.poll(renewed).toBe(1);
  const after = await readFile(file, "utf8");
  expect(after).not.toBe(before);
  expect(await readFile(file.replace(".crt", ".key"), "utf8")).toBe(key);
  expect(server.sessions).toHaveLength(1);
  expect(agent.status().tunnels).toMatchObject([{ state: "open" }]);
  // The next heartbeat shows the new certificate.
  const leases = (): (string | undefined)[] =>
    server.requests.filter(({ path }) => path.endsWith("/leases/node-a")).map(({ certificate }) => certificate?.trim());
  await expect
    .poll(() => leases().at(-1), { timeout: 15_000 })
    .toBe(`${after.split("-----END CERTIFICATE-----")[0]}-----END CERTIFICATE-----`);
});

test("a renewal that fails is tried again, and status says when time runs short", async () => {
  const clock = new SkippingClock();
  await using started = await startAgent({ servers: [server.url], token: server.token }, clock);
  const { agent, log } = started;
  await agent.ready;
  server.acceptsToken = false;
  server.acceptsCertificates = false;
  clock.passDays(355);
  await expect.poll(() => log.filter((line) => line.includes("could not be renewed yet")).length).toBe(1);
  const said = agent.status().problems.map(({ what }) => what);
  expect(said).toContainEqual(expect.stringMatching(/^the servers no longer accept this agent's token/));
  expect(said).toContainEqual(
    expect.stringMatching(/^certificate client-kubelet ends in \d+ days and was not renewed/),
  );
});

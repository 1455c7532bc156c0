import { describe, expect, it, onTestFinished } from "vitest";
import { type Backend, lacks, startAdapter, startBackend } from "../src/index.ts";
import { runStorm } from "../src/storm/storm.ts";

const needs = {
  sqlite: [],
  postgres: ["postgres", "initdb"],
  mariadb: ["mariadbd", "mariadb-install-db"],
} as const satisfies Record<Backend, readonly Parameters<typeof lacks>[number][]>;

describe("a thousand clients that create at once, and 25 that watch it all", () => {
  it.skipIf(lacks(...needs.sqlite))("see no error and no event lost on sqlite", { timeout: 180_000 }, () =>
    storm("sqlite"),
  );
  it.skipIf(lacks(...needs.postgres))("see no error and no event lost on postgres", { timeout: 180_000 }, () =>
    storm("postgres"),
  );
  it.skipIf(lacks(...needs.mariadb))("see no error and no event lost on mariadb", { timeout: 180_000 }, () =>
    storm("mariadb"),
  );
});

async function storm(backend: Backend): Promise<void> {
  const store = await startBackend(backend);
  const adapter = await startAdapter(store.freshEndpoint());
  onTestFinished(async () => {
    await adapter.process.stop();
    await store.close();
  });
  const result = await runStorm({ url: adapter.url, clients: 1_000, watchers: 25, createsPerClient: 2 });
  console.log(`${backend}: ${result.creates} creates in ${result.seconds.toFixed(1)} s`);
  expect([...result.errors]).toEqual([]);
  expect(result.violations).toEqual([]);
}

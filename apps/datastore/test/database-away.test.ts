import { type DatabaseServer, lacks, startPostgres, TcpProxy } from "@keelson/conformance";
import { grpcStatus } from "@keelson/protocol/etcd";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { LogUnavailableError } from "../src/log/append-log.ts";
import { DatabaseSize } from "../src/log/sql/database-size.ts";
import { runDatastore } from "./running-datastore.ts";

describe("the size of a database", () => {
  it("is the last known while the database is away, and unavailable before it was known", async () => {
    let answer: () => Promise<{ total: number; inUse: number }> = () => Promise.reject(new Error("connection refused"));
    const size = new DatabaseSize(() => answer());
    await expect(size.ask()).rejects.toThrow(LogUnavailableError);
    answer = async () => ({ total: 2, inUse: 1 });
    expect(await size.ask()).toEqual({ total: 2, inUse: 1 });
    answer = () => Promise.reject(new Error("connection refused"));
    expect(await size.ask()).toEqual({ total: 2, inUse: 1 });
  });
});

describe.skipIf(lacks("initdb", "postgres"))("a datastore whose PostgreSQL does not answer", () => {
  let server: DatabaseServer;
  beforeAll(async () => {
    server = await startPostgres();
  }, 60_000);
  afterAll(() => server?.close());

  it("answers its metrics soon, and Status and Defragment with Unavailable", { timeout: 60_000 }, async () => {
    const proxy = await TcpProxy.open(server.port);
    onTestFinished(() => proxy.close());
    const { url, stop } = await runDatastore({ endpoint: server.endpoint("away", proxy.port) });
    // Before the proxy closes, and healed, so that the end does not wait for time-outs.
    onTestFinished(async () => {
      proxy.heal();
      await stop();
    });
    proxy.partition();
    const post = async (method: string): Promise<unknown> => {
      const response = await fetch(`${url}/v3/maintenance/${method}`, { method: "POST", body: "{}" });
      return ((await response.json()) as { code?: number }).code;
    };
    const startMs = performance.now();
    const page = await (await fetch(`${url}/metrics`)).text();
    expect(page).toMatch(/^etcd_server_has_leader \d/m);
    expect(page).not.toMatch(/^etcd_mvcc_db_total_size_in_bytes \d/m);
    expect(await post("status")).toBe(grpcStatus.unavailable);
    expect(performance.now() - startMs).toBeLessThan(10_000);
    proxy.cut();
    expect(await post("defragment")).toBe(grpcStatus.unavailable);
  });
});

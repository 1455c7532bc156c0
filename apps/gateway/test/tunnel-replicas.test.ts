import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { noCapabilities } from "@keelson/protocol/tunnel";
import { createRegistry, type Dependencies } from "@keelson/service";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createFakeRegistration, type FakeRegistration } from "./support/fake-registration.ts";
import { type Harness, startHarness } from "./support/harness.ts";
import { connectEgress, openTestTunnel } from "./support/tunnel-agent.ts";

const installed = spawnSync("redis-server", ["--version"]).error === undefined;
if (!installed) {
  if (process.env.KEELSON_REQUIRE_ALL === "1") throw new Error("redis-server is not installed");
  console.log("skipped: redis-server is not installed");
}

describe.skipIf(!installed)("several gateways behind one address", () => {
  let directory: string;
  let redisPort: number;
  let redis: ChildProcess;
  let registration: FakeRegistration;
  let first: Harness;
  let second: Harness;
  /** The second replica's metrics. */
  const registry = createRegistry({ defaultMetrics: false });

  const startRedis = async (): Promise<void> => {
    redis = spawn("redis-server", [
      "--port",
      String(redisPort),
      "--save",
      "",
      "--dir",
      directory,
      "--bind",
      "127.0.0.1",
    ]);
    for await (const chunk of redis.stdout!) if (String(chunk).includes("Ready to accept")) break;
  };

  const startReplica = async (deps: Partial<Dependencies> = {}): Promise<Harness> => {
    const identity = await registration.client("system:apiserver", ["system:masters"]);
    const harness: Harness = await startHarness({
      registration,
      deps,
      config: {
        tunnel: {
          dialTimeoutMs: 2_000,
          replicas: {
            redisUrl: `redis://127.0.0.1:${redisPort}`,
            advertise: () => `127.0.0.1:${harness.port}`,
            tls: () => ({ ca: registration.serverCa.bundlePem, ...identity }),
          },
        },
      },
    });
    return harness;
  };

  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "keelson-redis-"));
    const probe = createServer().listen(0, "127.0.0.1");
    await once(probe, "listening");
    redisPort = (probe.address() as AddressInfo).port;
    probe.close();
    await startRedis();
    registration = await createFakeRegistration();
    [first, second] = await Promise.all([startReplica(), startReplica({ registry })]);
  });

  afterAll(async () => {
    await first[Symbol.asyncDispose]();
    await second[Symbol.asyncDispose]();
    redis.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  });

  test("a stock agent keeps its tunnel, whichever replica is asked for what it would refuse", async () => {
    const asked: string[] = [];
    const agent = await openTestTunnel(first, "stock-node", {
      capabilities: noCapabilities,
      onConnect(session, stream, { address }) {
        asked.push(address);
        session.accept(stream);
      },
    });
    await expect.poll(async () => (await connectEgress(second, "stock-node:10250")).statusLine).toContain("200");
    await vi.waitUntil(() => asked.length > 0);
    for (const replica of [first, second]) {
      expect((await connectEgress(replica, "stock-node:9999")).statusLine).toBe(
        "HTTP/1.1 502 Bad Gateway: node stock-node: its agent does not pass on 127.0.0.1:9999",
      );
    }
    expect(new Set(asked)).toEqual(new Set(["127.0.0.1:10250"]));
    agent.session.close("done");
  });

  test("a stream reaches the replica that holds the session; without Redis, and back, the failure says so", async () => {
    const agent = await openTestTunnel(first, "far-node", {
      onConnect(session, stream, { address }) {
        if (address.endsWith(":10010")) return session.refuse(stream, "refused", "dial tcp 127.0.0.1:10010: refused");
        session.accept(stream);
        stream.pipe(stream);
      },
    });
    await expect.poll(async () => (await connectEgress(second, "far-node:10250")).statusLine).toContain("200");
    const { socket } = await connectEgress(second, "far-node:10250");
    socket.write("over there");
    socket.resume();
    expect(String((await once(socket, "data"))[0])).toBe("over there");
    expect((await connectEgress(second, "far-node:10010")).statusLine).toBe(
      "HTTP/1.1 502 Bad Gateway: node far-node: dial tcp 127.0.0.1:10010: refused",
    );

    redis.kill("SIGKILL");
    await once(redis, "exit");
    await expect
      .poll(async () => (await connectEgress(second, "far-node:10250")).statusLine)
      .toBe(
        "HTTP/1.1 502 Bad Gateway: failed to find Session for client far-node: its agent has no tunnel to this " +
          "server, and Redis, which knows the other replicas', does not answer",
      );
    expect(await registry.metrics()).toContain("keelson_tunnel_directory_up 0");
    expect((await connectEgress(first, "far-node:10250")).statusLine).toContain("200");
    socket.write("still");
    expect(String((await once(socket, "data"))[0])).toBe("still");

    await startRedis();
    await expect
      .poll(async () => (await connectEgress(second, "far-node:10250")).statusLine, { timeout: 10_000 })
      .toContain("200");
    expect(await registry.metrics()).toContain("keelson_tunnel_directory_up 1");
    agent.session.close("done");
    await expect.poll(async () => (await connectEgress(second, "far-node:10250")).statusLine).toContain("502");
  });

  test("a Redis that accepts and answers nothing is lost as well, not asked again, and taken back", async () => {
    const agent = await openTestTunnel(first, "near-node", {
      onConnect: (session, stream) => session.accept(stream),
    });
    const fromSecond = async (): Promise<string> => (await connectEgress(second, "near-node:10250")).statusLine;
    await expect.poll(fromSecond).toContain("200");
    const lost =
      "HTTP/1.1 502 Bad Gateway: failed to find Session for client near-node: its agent has no tunnel to this " +
      "server, and Redis, which knows the other replicas', does not answer";

    redis.kill("SIGSTOP");
    expect(await fromSecond()).toBe(lost);
    expect(await registry.metrics()).toContain("keelson_tunnel_directory_up 0");
    const startedMs = performance.now();
    for (let count = 0; count < 5; count++) expect(await fromSecond()).toBe(lost);
    expect(performance.now() - startedMs).toBeLessThan(1_000); // each would wait 500 ms for Redis
    expect((await connectEgress(first, "near-node:10250")).statusLine).toContain("200");

    redis.kill("SIGCONT");
    await expect.poll(fromSecond, { timeout: 10_000 }).toContain("200");
    expect(await registry.metrics()).toContain("keelson_tunnel_directory_up 1");
    agent.session.close("done");
  });
});

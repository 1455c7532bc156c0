import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { buffer } from "node:stream/consumers";
import { setTimeout as delay } from "node:timers/promises";
import { createRegistry } from "@keelson/service";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { createLoadBalancer, type LoadBalancer, type LoadBalancerConfig, parseServerUrl } from "../src/index.ts";
import { FickleServer } from "./fickle-server.ts";
import { ping, pingProbe } from "./ping.ts";

let directory: string;
const cleanUp: (() => Promise<unknown>)[] = [];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "keelson-lb-"));
});

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
  await rm(directory, { recursive: true, force: true });
});

async function balancer(
  config: Partial<LoadBalancerConfig> & Pick<LoadBalancerConfig, "servers">,
): Promise<LoadBalancer> {
  const created = createLoadBalancer({ name: "test", listen: { port: 0, hosts: ["127.0.0.1"] }, ...config });
  await created.start();
  cleanUp.push(() => created.stop());
  return created;
}

async function fickle(name: string): Promise<FickleServer> {
  const server = new FickleServer(name);
  await server.start();
  cleanUp.push(() => server.stop());
  return server;
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanUp.push(async () => server.close());
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const hasIpv6 = Object.values(networkInterfaces()).some((list) => list?.some(({ address }) => address === "::1"));
const soon = (): AbortSignal => AbortSignal.timeout(5_000);

describe("a relayed connection", () => {
  test("keeps the other direction open when one ends", async () => {
    const server = createServer({ allowHalfOpen: true }, async (socket) => {
      const request = await buffer(socket);
      socket.end(`got ${request.length}`);
    });
    const { port } = await balancer({ servers: [`https://${await listen(server)}`] });
    const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    client.end(Buffer.alloc(3_000_000));
    expect(String(await buffer(client))).toBe("got 3000000");
  });

  test("delivers every byte to a reader that stops and goes", async () => {
    const sent = randomBytes(24 * 1024 * 1024);
    const server = createServer((socket) => socket.end(sent));
    const { port } = await balancer({ servers: [`https://${await listen(server)}`] });
    const client = connect({ port, host: "127.0.0.1" });
    const hash = createHash("sha256");
    let reads = 0;
    client.on("data", (chunk: Buffer) => {
      hash.update(chunk);
      if (++reads % 50 !== 0) return;
      client.pause();
      setTimeout(() => client.resume(), 5);
    });
    await once(client, "end");
    expect(hash.digest("hex")).toBe(createHash("sha256").update(sent).digest("hex"));
  });

  test("ends at once when its server breaks", async () => {
    const server = await fickle("a");
    const { port } = await balancer({ servers: [`https://${server.address}`] });
    const client = connect({ port, host: "127.0.0.1" });
    client.on("error", () => {});
    client.write("ping\n");
    await once(client, "data");
    const closed = once(client, "close");
    await server.become("refuse");
    await closed;
  });
});

describe("what the balancer shows", () => {
  test.skipIf(!hasIpv6)("it listens on IPv6's loopback too", async () => {
    const a = await fickle("a");
    const lb = createLoadBalancer({ name: "test", servers: [`https://${a.address}`], listen: { port: 0 } });
    await lb.start();
    cleanUp.push(() => lb.stop());
    expect(await ping(lb.port, soon(), "::1")).toBe("a");
    expect(await ping(lb.port, soon(), "127.0.0.1")).toBe("a");
  });

  test("metrics tell the state of each server, its connections, and how long dials take, by K3s's names", async () => {
    const a = await fickle("a");
    const registry = createRegistry({ defaultMetrics: false });
    const lb = createLoadBalancer(
      { name: "k3s-agent-load-balancer", servers: [`https://${a.address}`], listen: { port: 0, hosts: ["127.0.0.1"] } },
      { registry },
    );
    await lb.start();
    cleanUp.push(() => lb.stop());
    lb.setServers([a.address, "127.0.0.1:1"]);
    const client = connect({ port: lb.port, host: "127.0.0.1" });
    cleanUp.push(async () => client.destroy());
    client.write("ping\n");
    await once(client, "data");
    const text = await registry.metrics();
    const labels = `{name="k3s-agent-load-balancer",server="${a.address}"}`;
    expect(text).toContain(`k3s_loadbalancer_server_health${labels} 4`);
    expect(text).toContain(`k3s_loadbalancer_server_connections${labels} 1`);
    expect(text).toMatch(/k3s_loadbalancer_server_health\{[^}]*server="127.0.0.1:1"\} [13]/);
    expect(text).toContain(
      'k3s_loadbalancer_dial_duration_seconds_count{name="k3s-agent-load-balancer",status="success"} 1',
    );
  });
});

describe("fail-over", () => {
  test("a refused server costs nothing, a silent one is left within three seconds", async () => {
    const [a, b] = [await fickle("a"), await fickle("b")];
    const lb = await balancer({ servers: [`https://${a.address}`], probe: pingProbe });
    lb.setServers([a.address, b.address]);
    await a.become("refuse");
    const started = performance.now();
    expect(await ping(lb.port, soon())).toBe("b");
    expect(performance.now() - started).toBeLessThan(1_000);

    await a.become("ok");
    await expect.poll(() => stateOf(lb, a.address), { timeout: 4_000 }).toBe("preferred");
    await b.become("silent");
    const stuck = performance.now();
    for (;;) {
      const answer = await ping(lb.port, AbortSignal.timeout(5_000)).catch(() => undefined);
      if (answer !== undefined) break;
    }
    expect(performance.now() - stuck).toBeLessThan(3_000);
  });

  test("a server that says it leaves gets no new connections", async () => {
    const [a, b] = [await fickle("a"), await fickle("b")];
    const lb = await balancer({ servers: [`https://${a.address}`], probe: pingProbe });
    lb.setServers([a.address, b.address]);
    const first = await ping(lb.port, soon());
    const [leaving, staying] = first === "a" ? [a, b] : [b, a];
    lb.setLeaving(leaving.address, true);
    expect(await ping(lb.port, soon())).toBe(staying.name);
    await delay(1_100); // a check that passes meanwhile changes nothing
    expect(await ping(lb.port, soon())).toBe(staying.name);
  });
});

describe("several registration addresses", () => {
  test("every record of a name is one, and they are looked up again", async () => {
    const [a, b] = [await fickle("a"), await fickle("b")];
    let records = ["127.0.0.2"];
    const port = Number(a.address.split(":")[1]);
    const lb = await balancer({
      servers: [`https://registration.test:${port}`, `https://${b.address}`],
      resolve: async (host) => (host === "registration.test" ? records : [host]),
      resolveIntervalMs: 20,
    });
    await expect.poll(() => addresses(lb)).toEqual([`127.0.0.2:${port}`, b.address].sort());
    records = ["127.0.0.1", "127.0.0.2"];
    await expect.poll(() => addresses(lb)).toEqual([a.address, `127.0.0.2:${port}`, b.address].sort());
    expect(["a", "b"]).toContain(await ping(lb.port, soon()));
  });

  test("a name server that is away takes no address and no connection away", async () => {
    const a = await fickle("a");
    const port = Number(a.address.split(":")[1]);
    let lookUps = 0;
    const lb = await balancer({
      servers: [`https://registration.test:${port}`],
      resolve: async () => {
        if (++lookUps % 3 === 2) return [];
        if (lookUps > 1) throw new Error("no name server");
        return ["127.0.0.1"];
      },
      resolveIntervalMs: 5,
    });
    await expect.poll(() => lookUps).toBeGreaterThan(5);
    expect(addresses(lb)).toEqual([a.address]);
    expect(await ping(lb.port, soon())).toBe("a");
  });

  test("what is not a server URL is refused with a hint", () => {
    expect(parseServerUrl("https://[fd00::1]:6443")).toEqual({ host: "fd00::1", port: 6443 });
    expect(parseServerUrl("https://host")).toEqual({ host: "host", port: 443 });
    for (const url of ["http://host:6443", "host:6443", "", "https://"]) {
      expect(() => parseServerUrl(url)).toThrow("is not a server URL");
    }
  });
});

describe("the state file", () => {
  test("brings a restarted agent in when its registration address is gone, in K3s's format", async () => {
    const [a, b] = [await fickle("a"), await fickle("b")];
    const stateFile = join(directory, "etc", "lb.json");
    const servers = [`https://${a.address}`];
    const first = await balancer({ servers, stateFile });
    first.setServers([a.address, b.address]);
    await first.stop();
    expect(JSON.parse(await readFile(stateFile, "utf8"))).toEqual({
      ServerURL: servers[0],
      ServerAddresses: [a.address, b.address].sort(),
    });
    await a.become("refuse");
    const second = await balancer({ servers, stateFile });
    expect(await ping(second.port, soon())).toBe("b");
  });

  test("is not used for another server, nor when it is damaged", async () => {
    const a = await fickle("a");
    const stateFile = join(directory, "lb.json");
    await writeFile(
      stateFile,
      JSON.stringify({ ServerURL: "https://other:6443", ServerAddresses: ["192.0.2.1:6443"] }),
    );
    const first = await balancer({ servers: [`https://${a.address}`], stateFile });
    expect(addresses(first)).toEqual([a.address]);
    await writeFile(stateFile, "{");
    const second = await balancer({ servers: [`https://${a.address}`], stateFile });
    expect(addresses(second)).toEqual([a.address]);
  });

  test("never ends up with dead servers only: the registration address is tried as well", async () => {
    const a = await fickle("a");
    const stateFile = join(directory, "lb.json");
    const servers = [`https://${a.address}`];
    await writeFile(
      stateFile,
      JSON.stringify({ ServerURL: servers[0], ServerAddresses: ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:70000", 5] }),
    );
    const lb = await balancer({ servers, stateFile });
    expect(await ping(lb.port, soon())).toBe("a");
  });
});

function stateOf(lb: LoadBalancer, address: string): string | undefined {
  return lb.servers().find((server) => server.address === address)?.state;
}

function addresses(lb: LoadBalancer): string[] {
  return lb
    .servers()
    .map(({ address }) => address)
    .sort();
}

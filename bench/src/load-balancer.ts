import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { createLoadBalancer } from "@keelson/load-balancer";
import { createLogger } from "@keelson/service";

/**
 * `npm run bench -- load-balancer`: the agent's balancer against Debian's HAProxy in TCP mode, in one run and against the
 * same backend, plus the backend without anything in front. Only ratios mean something: generator, relay and backend share
 * the machine. Rounds alternate, so that a noisy neighbour hits all; figures are medians.
 */

const rounds = 5;
const secondsPerPhase = 2;
const connections = 200;
const requestBytes = 200;
const replyBytes = 1_000;
const bulkBytes = 512 * 1024 * 1024;

interface Figures {
  bulkMiBps: number;
  requestsPerSecond: number;
  p99Ms: number;
}

export async function run(args: string[]): Promise<number> {
  if (args[0] === "--part=backend") return runBackend();
  if (args[0] === "--part=balancer") return runBalancer(Number(args[1]));
  const directory = await mkdtemp(join(tmpdir(), "keelson-bench-lb-"));
  const children: ChildProcess[] = [];
  try {
    const backend = await startPart(children, ["--part=backend"]);
    const paths: { name: string; port: number }[] = [
      { name: "keelson", port: await startPart(children, ["--part=balancer", String(backend)]) },
    ];
    const haproxy = await startHaproxy(children, directory, backend);
    if (haproxy !== undefined) paths.push({ name: "haproxy", port: haproxy });
    else console.log("haproxy is not installed: no comparison");
    paths.push({ name: "direct", port: backend });

    const samples = new Map<string, Figures[]>(paths.map(({ name }) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const { name, port } of paths) samples.get(name)!.push(await measure(port));
    }
    return report(new Map([...samples].map(([name, figures]) => [name, medians(figures)])));
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await rm(directory, { recursive: true, force: true });
  }
}

function report(results: Map<string, Figures>): number {
  console.log(`${"".padEnd(10)}${"bulk MiB/s".padStart(12)}${"requests/s".padStart(12)}${"p99 ms".padStart(10)}`);
  for (const [name, { bulkMiBps, requestsPerSecond, p99Ms }] of results) {
    const cells = [bulkMiBps.toFixed(0).padStart(12), requestsPerSecond.toFixed(0).padStart(12)];
    console.log(`${name.padEnd(10)}${cells.join("")}${p99Ms.toFixed(2).padStart(10)}`);
  }
  const ours = results.get("keelson")!;
  const theirs = results.get("haproxy");
  if (theirs === undefined) return 0;
  const bars = [
    { what: "bulk, ratio to HAProxy", value: ours.bulkMiBps / theirs.bulkMiBps, bar: 0.9, better: "higher" },
    { what: "small requests", value: ours.requestsPerSecond / theirs.requestsPerSecond, bar: 0.7, better: "higher" },
    { what: "their p99", value: ours.p99Ms / theirs.p99Ms, bar: 2, better: "lower" },
  ];
  let met = true;
  for (const { what, value, bar, better } of bars) {
    const good = better === "higher" ? value >= bar : value <= bar;
    met &&= good;
    console.log(
      `${what.padEnd(26)} ${value.toFixed(2)}  (bar ${better === "higher" ? ">=" : "<="} ${bar}) ${good ? "met" : "MISSED"}`,
    );
  }
  return met ? 0 : 1;
}

// ---- parts, each a process of its own ---------------------------------------------------------------------------------

async function runBackend(): Promise<number> {
  const reply = Buffer.alloc(replyBytes, 0x61);
  const chunk = Buffer.alloc(256 * 1024, 0x62);
  const server = createServer({ noDelay: true }, (socket) => {
    socket.on("error", () => {});
    let pending = 0;
    let first = true;
    socket.on("data", (data: Buffer) => {
      if (first && data[0] === 0x42) return void sendBulk(socket, chunk);
      first = false;
      for (pending += data.length; pending >= requestBytes; pending -= requestBytes) socket.write(reply);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.send!((server.address() as AddressInfo).port);
  return new Promise(() => {});
}

function sendBulk(socket: Socket, chunk: Buffer): void {
  let left = bulkBytes;
  const more = (): void => {
    while (left > 0) {
      left -= chunk.length;
      if (!socket.write(chunk)) return void socket.once("drain", more);
    }
    socket.end();
  };
  more();
}

async function runBalancer(backend: number): Promise<number> {
  const balancer = createLoadBalancer(
    { name: "bench", servers: [`https://127.0.0.1:${backend}`], listen: { hosts: ["127.0.0.1"], port: 0 } },
    { log: createLogger({ name: "bench", level: "warn" }) },
  );
  await balancer.start();
  process.send!(balancer.port);
  return new Promise(() => {});
}

async function startPart(children: ChildProcess[], args: string[]): Promise<number> {
  const child = fork(join(import.meta.dirname, "cli.ts"), ["load-balancer", ...args]);
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once("message", (port) => resolve(Number(port)));
    child.once("exit", (code) => reject(new Error(`${args[0]} ended with ${code}`)));
  });
}

async function startHaproxy(children: ChildProcess[], directory: string, backend: number): Promise<number | undefined> {
  if (spawnSync("haproxy", ["-v"]).error !== undefined) return undefined;
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  const file = join(directory, "haproxy.cfg");
  await writeFile(
    file,
    `global
  maxconn 4096
defaults
  mode tcp
  timeout connect 5s
  timeout client 1h
  timeout server 1h
frontend in
  bind 127.0.0.1:${port}
  default_backend out
backend out
  server one 127.0.0.1:${backend}
`,
  );
  children.push(spawn("haproxy", ["-f", file, "-db"], { stdio: "ignore" }));
  await delay(500);
  return port;
}

// ---- load -------------------------------------------------------------------------------------------------------------

async function measure(port: number): Promise<Figures> {
  return { bulkMiBps: await bulk(port), ...(await small(port)) };
}

function bulk(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    let received = 0;
    const started = performance.now();
    const socket = connect({
      port,
      host: "127.0.0.1",
      onread: {
        buffer: Buffer.allocUnsafe(256 * 1024),
        callback: (length) => {
          received += length;
          return true;
        },
      },
    });
    socket.on("connect", () => socket.write("B"));
    socket.on("error", reject);
    socket.on("close", () => {
      if (received !== bulkBytes) reject(new Error(`only ${received} bytes came`));
      else resolve(received / 1024 / 1024 / ((performance.now() - started) / 1_000));
    });
  });
}

async function small(port: number): Promise<{ requestsPerSecond: number; p99Ms: number }> {
  const request = Buffer.alloc(requestBytes, 0x73);
  const latencies: number[] = [];
  let measuring = false;
  const sockets = await Promise.all(
    Array.from({ length: connections }, () => {
      let sentMs = 0;
      let pending = 0;
      const send = (): void => {
        sentMs = performance.now();
        socket.write(request);
      };
      const socket = connect({
        port,
        host: "127.0.0.1",
        noDelay: true,
        onread: {
          buffer: Buffer.allocUnsafe(4_096),
          callback: (length) => {
            pending += length;
            if (pending >= replyBytes) {
              pending -= replyBytes;
              if (measuring) latencies.push(performance.now() - sentMs);
              send();
            }
            return true;
          },
        },
      });
      socket.on("error", () => {});
      return new Promise<Socket>((resolve) =>
        socket.once("connect", () => {
          send();
          resolve(socket);
        }),
      );
    }),
  );
  await delay(500);
  measuring = true;
  const started = performance.now();
  await delay(secondsPerPhase * 1_000);
  measuring = false;
  const seconds = (performance.now() - started) / 1_000;
  for (const socket of sockets) socket.destroy();
  latencies.sort((a, b) => a - b);
  return {
    requestsPerSecond: latencies.length / seconds,
    p99Ms: latencies[Math.floor(latencies.length * 0.99)] ?? 0,
  };
}

function medians(figures: readonly Figures[]): Figures {
  const median = (pick: (figure: Figures) => number): number =>
    figures.map(pick).sort((a, b) => a - b)[Math.floor(figures.length / 2)]!;
  return {
    bulkMiBps: median(({ bulkMiBps }) => bulkMiBps),
    requestsPerSecond: median(({ requestsPerSecond }) => requestsPerSecond),
    p99Ms: median(({ p99Ms }) => p99Ms),
  };
}

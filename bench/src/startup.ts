import type { ChildProcess } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { Agent, request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freePorts } from "@keelson/conformance";
import { startKeelson, stopKeelson } from "./keelson-process.ts";
import { residentMiB } from "./resident-memory.ts";

/**
 * `npm run bench -- startup`: what a user waits for and what it costs in memory. Each run starts a server in an empty data
 * directory, then an agent that joins it, as separate processes; figures are medians of five.
 */

const runs = 5;
const pollMs = 5;
/** Memory is read when the join is done and the processes have been quiet for a while. */
const settleMs = 5_000;

/** Stock K3s v1.21.2 on a machine of this size (conformance/vectors/timings.md), and what Keelson promises. */
const rows = [
  { key: "serverReadyMs", label: "server start to /readyz", unit: "ms", bar: 1_500, stock: 4_350 },
  { key: "agentNodeMs", label: "agent start to its Node", unit: "ms", bar: 1_500, stock: 6_220 },
  { key: "serverMiB", label: "server resident, one agent", unit: "MiB", bar: 200, stock: 516 },
  { key: "agentMiB", label: "agent resident", unit: "MiB", bar: 80, stock: 139 },
] as const;

type Sample = Record<(typeof rows)[number]["key"], number>;

export async function run(): Promise<number> {
  const samples: Sample[] = [];
  for (let index = 0; index < runs; index++) {
    const sample = await measure();
    samples.push(sample);
    console.log(
      `run ${index + 1}: ${rows.map(({ key, label, unit }) => `${label} ${Math.round(sample[key])} ${unit}`).join(", ")}`,
    );
  }
  console.log(`\n${"what".padEnd(30)}${"median".padStart(10)}${"bar".padStart(10)}${"stock K3s".padStart(12)}`);
  let met = true;
  for (const { key, label, unit, bar, stock } of rows) {
    const value = median(samples.map((sample) => sample[key]));
    met &&= value <= bar;
    const cells = [value, bar, stock].map((number) => `${Math.round(number)} ${unit}`);
    console.log(`${label.padEnd(30)}${cells[0]!.padStart(10)}${cells[1]!.padStart(10)}${cells[2]!.padStart(12)}`);
  }
  console.log(met ? "\nall bars met" : "\na bar is not met");
  return met ? 0 : 1;
}

async function measure(): Promise<Sample> {
  const directory = await mkdtemp(join(tmpdir(), "keelson-startup-"));
  const [httpsPort, lbPort, etcdPort] = await freePorts(3);
  const serverDir = join(directory, "server");
  const children: ChildProcess[] = [];
  try {
    const kubeconfig = join(directory, "kubeconfig.yaml");
    const serverStart = performance.now();
    const server = start(
      [
        "server",
        `--data-dir=${serverDir}`,
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        `--https-listen-port=${httpsPort}`,
        `--datastore-listen-address=127.0.0.1:${etcdPort}`,
        `--write-kubeconfig=${kubeconfig}`,
        "--node-name=bench-server",
        "--disable-agent",
      ],
      {},
    );
    children.push(server);
    const get = await adminClient(serverDir, httpsPort!);
    await until(async () => (await get("/readyz")) === 200, server);
    const serverReadyMs = performance.now() - serverStart;

    const token = (await readFile(join(serverDir, "server", "token"), "utf8")).trim();
    const agentStart = performance.now();
    const agent = start(
      [
        "agent",
        `--server=https://127.0.0.1:${httpsPort}`,
        `--data-dir=${join(directory, "agent")}`,
        "--node-name=bench-agent",
        "--node-ip=127.0.0.1",
        `--lb-server-port=${lbPort}`,
        `--node-password-file=${join(directory, "node-password")}`,
      ],
      { K3S_TOKEN: token },
    );
    children.push(agent);
    await until(async () => (await get("/api/v1/nodes/bench-agent")) === 200, agent);
    const agentNodeMs = performance.now() - agentStart;
    await delay(settleMs);
    return { serverReadyMs, agentNodeMs, serverMiB: residentMiB(server.pid!), agentMiB: residentMiB(agent.pid!) };
  } finally {
    for (const child of children.reverse()) await stopKeelson(child);
    await rm(directory, { recursive: true, force: true });
  }
}

function start(args: string[], env: Record<string, string>): ChildProcess {
  return startKeelson(args, { env: { ...process.env, ...env }, stdio: "ignore" });
}

/** A client with the admin certificate; it appears on disk during the start, so it is read again until it does. */
async function adminClient(serverDir: string, port: number): Promise<(path: string) => Promise<number | undefined>> {
  let agent: Agent | undefined;
  const tls = (name: string): Promise<string> => readFile(join(serverDir, "server", "tls", name), "utf8");
  return async (path) => {
    try {
      agent ??= new Agent({
        keepAlive: true,
        ca: await tls("server-ca.crt"),
        cert: await tls("client-admin.crt"),
        key: await tls("client-admin.key"),
      });
    } catch {
      return undefined; // not written yet
    }
    return new Promise((done) => {
      const call = request({ host: "127.0.0.1", port, path, agent }, (response) => {
        response.resume();
        response.on("end", () => done(response.statusCode));
      });
      call.on("error", () => done(undefined));
      call.end();
    });
  };
}

async function until(check: () => Promise<boolean>, child: ChildProcess): Promise<void> {
  const deadline = performance.now() + 30_000;
  while (!(await check())) {
    if (child.exitCode !== null) throw new Error(`the process ended with exit code ${child.exitCode}`);
    if (performance.now() > deadline) throw new Error("not up within 30 s");
    await delay(pollMs);
  }
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

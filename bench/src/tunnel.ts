import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { TunnelSession, TunnelStream } from "@keelson/protocol/tunnel";
import { residentMiB } from "./resident-memory.ts";
import { runAgentPart, writeBulk } from "./tunnel/agent-part.ts";
import { fillCompileCache, forkPart } from "./tunnel/fork-part.ts";
import { runNodesPart, withGatewaySessions } from "./tunnel/gateway-sessions.ts";
import { openLink } from "./tunnel/link.ts";
import { rawDownload, runRawPart } from "./tunnel/raw-part.ts";

/**
 * `npm run bench -- tunnel`: the agent tunnel beside raw loopback TCP, in one run. The agent's end is a process of its own,
 * as it is in a cluster; this process is the server's. Only ratios compare across machines.
 */

const bulkMiB = 512;
const rounds = 3;
const echoes = 2_000;
/** As many as it takes for garbage that is not theirs to be little beside them. */
const stalledStreams = 200;
const idleStreams = 10_000;
const idleSessions = 2_000;

interface Row {
  what: string;
  value: string;
  bar?: { text: string; met: boolean };
}

/** Each in a process of its own: memory is measured, and one scenario's garbage is not another's cost. */
const scenarios: Readonly<Record<string, (add: Add) => Promise<void>>> = {
  throughput,
  "head-of-line": headOfLine,
  "stalled-readers": stalledReaders,
  "idle-streams": manyIdleStreams,
  "idle-sessions": manySessions,
  integrity,
  cycles,
};

export async function run(args: string[]): Promise<number> {
  const [argument] = args;
  // As keelson's launcher does for every process; on the command line this flag does nothing.
  setFlagsFromString("--semi-space-growth-factor=1");
  if (argument === "--part=agent") return runAgentPart();
  if (argument === "--part=nodes") return runNodesPart();
  if (argument === "--part=raw") return runRawPart();
  if (argument === "--part=none") return 0;
  if (argument?.startsWith("--scenario=")) {
    await scenarios[argument.slice("--scenario=".length)]!((what, value, bar) => process.send!({ what, value, bar }));
    return 0;
  }
  await fillCompileCache();
  let met = true;
  for (const name of Object.keys(scenarios)) {
    if (argument !== undefined && argument !== name) continue;
    const child = forkPart(`--scenario=${name}`);
    child.on("message", ({ what, value, bar }: Row) => {
      met &&= bar?.met ?? true;
      const verdict = bar === undefined ? "" : `  (bar ${bar.text}) ${bar.met ? "met" : "MISSED"}`;
      console.log(`${what.padEnd(70)} ${value.padStart(12)}${verdict}`);
    });
    const [code] = (await once(child, "close")) as [number | null];
    if (code !== 0) met = false;
  }
  return met ? 0 : 1;
}

type Add = (what: string, value: string, bar?: Row["bar"]) => void;

// ---- single-stream throughput -----------------------------------------------------------------------------------------

async function throughput(add: Add): Promise<void> {
  const raw = await rawDownload(bulkMiB, rounds);
  add("raw loopback TCP", `${raw.toFixed(0)} MiB/s`);
  for (const tls of [false, true]) {
    await using link = await openLink({ tls });
    const down: number[] = [];
    const up: number[] = [];
    for (let round = 0; round < rounds; round++) {
      down.push(await download(link.session));
      up.push(await upload(link.session));
    }
    for (const [name, samples] of [
      ["agent to server", down],
      ["server to agent", up],
    ] as const) {
      const ratio = median(samples) / raw;
      const what = `one stream, ${name}, ${tls ? "TLS" : "no TLS"}: ${median(samples).toFixed(0)} MiB/s, ratio to raw`;
      add(what, ratio.toFixed(3), tls ? undefined : { text: ">= 0.10", met: ratio >= 0.1 });
    }
  }
}

async function download(session: TunnelSession): Promise<number> {
  const started = performance.now();
  const stream = session.open("tcp", `source:${bulkMiB}`);
  let received = 0;
  stream.on("data", (piece: Buffer) => {
    received += piece.length;
  });
  await once(stream, "end");
  stream.end();
  if (received !== bulkMiB * 1024 * 1024) throw new Error(`${received} bytes came`);
  return bulkMiB / ((performance.now() - started) / 1_000);
}

async function upload(session: TunnelSession): Promise<number> {
  const started = performance.now();
  const stream = session.open("tcp", "sink");
  stream.resume();
  writeBulk(stream, bulkMiB * 1024 * 1024);
  await once(stream, "end");
  return bulkMiB / ((performance.now() - started) / 1_000);
}

// ---- an echo among downloads, and stalled readers ---------------------------------------------------------------------

async function headOfLine(add: Add): Promise<void> {
  await using link = await openLink();
  const session = link.session;
  const idle = await echo(session);
  add("echo round trip, idle, p50", `${idle.p50.toFixed(3)} ms`);
  add("echo round trip, idle, p99: what this machine's other work costs", `${idle.p99.toFixed(2)} ms`);
  const bulk = Array.from({ length: 4 }, () => session.open("tcp", "source:16384").on("error", () => {}));
  for (const stream of bulk) stream.resume();
  await delay(300);
  const busy = await echo(session);
  for (const stream of bulk) stream.destroy();
  add("echo round trip with 4 downloads, p50", `${busy.p50.toFixed(3)} ms`);
  add("echo round trip with 4 downloads, p99", `${busy.p99.toFixed(2)} ms`, { text: "<= 8 ms", met: busy.p99 <= 8 });
}

async function stalledReaders(add: Add): Promise<void> {
  await using link = await openLink();
  const session = link.session;
  await echo(session);
  const before = memory(link.pid);
  const stalled = Array.from({ length: stalledStreams }, () =>
    session.open("tcp", "source:1024").on("error", () => {}),
  );
  await delay(2_000);
  const each = (memory(link.pid) - before) / stalledStreams;
  const { p99 } = await echo(session);
  add("a stalled reader, both ends, MiB each", each.toFixed(2), { text: "<= 0.5", met: each <= 0.5 });
  add(`echo p99 beside ${stalledStreams} stalled readers`, `${p99.toFixed(2)} ms`);
  for (const stream of stalled) stream.destroy();
}

async function echo(session: TunnelSession): Promise<{ p50: number; p99: number }> {
  const stream = session.open("tcp", "echo").on("error", () => {});
  const message = Buffer.alloc(100, 0x65);
  const times: number[] = [];
  for (let index = 0; index < echoes; index++) {
    const started = performance.now();
    stream.write(message);
    await once(stream, "data");
    times.push(performance.now() - started);
  }
  stream.destroy();
  times.sort((a, b) => a - b);
  return { p50: times[Math.floor(echoes * 0.5)]!, p99: times[Math.floor(echoes * 0.99)]! };
}

// ---- many of them -----------------------------------------------------------------------------------------------------

async function manyIdleStreams(add: Add): Promise<void> {
  await using link = await openLink();
  const sockets = new Set<Socket>();
  const target = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("data", (data) => socket.write(data));
  });
  await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", 4_096, resolve));
  const address = `127.0.0.1:${(target.address() as AddressInfo).port}`;
  const session = link.session;
  await echo(session);
  const streams: TunnelStream[] = [];
  for (let index = 0; index < idleStreams; index += 500) {
    const batch = Array.from({ length: 500 }, () => session.open("tcp", address).on("error", () => {}));
    await Promise.all(batch.map((stream) => stream.opened));
    streams.push(...batch);
  }
  await delay(2_000);
  const total = memory(link.pid);
  add("10,000 idle streams, all ends and the target, resident", `${total.toFixed(0)} MiB`, {
    text: "<= 300 MiB",
    met: total <= 300,
  });
  for (const stream of streams) stream.destroy();
  for (const socket of sockets) socket.destroy();
  target.close();
}

async function manySessions(add: Add): Promise<void> {
  for (const chain of ["without root", "whole"] as const) {
    const { before, after } = await withGatewaySessions({ warm: 50, measured: idleSessions, chain }, async (pid) => {
      await delay(5_000);
      return residentMiB(pid);
    });
    const each = ((after - before) * 1024) / idleSessions;
    if (chain === "whole") add("2,000 tunnels as stock agents open them, KiB each", each.toFixed(0));
    else add("2,000 agents' tunnels on one server, KiB each", each.toFixed(0), { text: "<= 60", met: each <= 60 });
  }
}

// ---- correctness at size ----------------------------------------------------------------------------------------------

/** 1 GiB there and back over a path with 50 ms round trips, by readers that stop and go. */
async function integrity(add: Add): Promise<void> {
  for (const legacy of [false, true]) {
    await using link = await openLink({ delayMs: 25, legacy });
    const started = performance.now();
    const exact = await Promise.all(
      Array.from({ length: 32 }, (_, index) => roundTrip(link.session, 32 * 1024 * 1024, index)),
    );
    const seconds = ((performance.now() - started) / 1_000).toFixed(0);
    const what = `1 GiB there and back, 50 ms, ${legacy ? "Pause and Resume" : "credits"}: byte-exact, after`;
    add(what, `${seconds} s`, { text: "all streams", met: exact.every(Boolean) });
  }
}

/** Sends random bytes to an echo and compares what comes back; the reader pauses now and then. */
async function roundTrip(session: TunnelSession, bytes: number, seed: number): Promise<boolean> {
  const stream = session.open("tcp", "echo");
  const [sent, received] = [createHash("sha256"), createHash("sha256")];
  let reads = seed;
  let receivedBytes = 0;
  stream.on("data", (piece: Buffer) => {
    received.update(piece);
    receivedBytes += piece.length;
    if (++reads % 40 !== 0) return;
    stream.pause();
    setTimeout(() => stream.resume(), 5 + (reads % 50));
  });
  const done = once(stream, "end");
  for (let left = bytes; left > 0; ) {
    const piece = randomBytes(Math.min(left, 48 * 1024));
    left -= piece.length;
    sent.update(piece);
    if (!stream.write(piece)) await once(stream, "drain");
  }
  // Without half-close the end would take the echo with it: wait for all of it first.
  if (!session.capabilities.halfclose) while (receivedBytes < bytes) await delay(20);
  stream.end();
  if (session.capabilities.halfclose) await done;
  const exact = sent.digest("hex") === received.digest("hex");
  stream.destroy();
  return exact;
}

/** 10,000 streams opened, filled against a reader that never reads, and closed: nothing may stay. */
async function cycles(add: Add): Promise<void> {
  await using link = await openLink();
  const session = link.session;
  const cycle = async (): Promise<void> => {
    const stream = session.open("tcp", "source:1").on("error", () => {});
    await once(stream, "readable");
    stream.destroy();
    await once(stream, "close");
  };
  const heap = async (): Promise<number> => {
    await delay(200);
    collectGarbage();
    return process.memoryUsage().heapUsed / 1024 / 1024;
  };
  for (let index = 0; index < 2_000; index++) await cycle();
  const before = await heap();
  for (let index = 0; index < 10_000; index += 50) await Promise.all(Array.from({ length: 50 }, cycle));
  const after = await heap();
  const growth = (after - before) / before;
  add("10,000 open-fill-close cycles, growth of the heap", `${(growth * 100).toFixed(1)} %`, {
    text: "<= 5 %, no stream left",
    met: growth <= 0.05 && session.streamCount === 0,
  });
}

/** A full collection, so that what is measured is what is held. */
function collectGarbage(): void {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
}

/** Resident memory of this process and another, in MiB. */
function memory(pid: number): number {
  return residentMiB(process.pid) + residentMiB(pid);
}

function median(samples: readonly number[]): number {
  return [...samples].sort((a, b) => a - b)[Math.floor(samples.length / 2)]!;
}

/**
 * Lets agents join a running server all at once, and then all come back. A parent process (bench/src/join-storm.ts) is then
 * asked to restart the server, and they all come back in the moment in which it is ready:
 *   node e2e/src/replay-storm-cli.ts --server https://127.0.0.1:6443 --data-dir /var/lib/rancher/k3s --agents 1000
 * With --server-pid it also says how much processor time that process used; with --json it prints one JSON document.
 */
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runStorm, type StormReport } from "./replay-storm.ts";

const maxReadyzP99Ms = 250;
/** Linux counts processor time in hundredths of a second. */
const tickMs = 10;

const { values } = parseArgs({
  options: {
    server: { type: "string", default: "https://127.0.0.1:6443" },
    "data-dir": { type: "string", default: "/var/lib/rancher/k3s" },
    agents: { type: "string", default: "1000" },
    "server-pid": { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const tls = join(values["data-dir"], "server", "tls");
const read = (path: string): Promise<string> => readFile(path, "utf8");
const probe = {
  ca: await read(join(tls, "server-ca.crt")),
  cert: await read(join(tls, "client-admin.crt")),
  key: await read(join(tls, "client-admin.key")),
};
const token = (await read(join(values["data-dir"], "server", "token"))).trim();
const storm = { server: values.server, token, agents: Number(values.agents), probe };

const first = await measured(() => runStorm(storm));
print("join", first);
const comeBack = (): Promise<StormReport & Cost> => measured(() => runStorm({ ...storm, returning: first.agents }));
const again = await comeBack();
print("rejoin", again);
const missed = [...missedBars("join", first, 60_000), ...missedBars("rejoin", again, 30_000)];
const afterRestart = await restartServer().then((restarted) => (restarted ? comeBack() : undefined));
if (afterRestart !== undefined) {
  print("rejoin after a restart", afterRestart);
  missed.push(...missedBars("rejoin after a restart", afterRestart, 30_000));
}
if (values.json) {
  const reports = { join: figures(first), rejoin: figures(again), afterRestart: afterRestart && figures(afterRestart) };
  console.log(JSON.stringify({ ...reports, missed }, undefined, 2));
} else console.log(missed.length === 0 ? "all bars met" : missed.join("\n"));
process.exit(missed.length === 0 ? 0 : 1);

/** Whether there is a parent that restarted the server. */
async function restartServer(): Promise<boolean> {
  if (process.send === undefined) return false;
  process.send({ restart: true });
  const [message] = (await once(process, "message")) as [{ serverPid?: number }];
  values["server-pid"] = String(message.serverPid);
  return true;
}

/** Processor time of both sides, in milliseconds; the server's is left out when its process is not known. */
interface Cost {
  agentsCpuMs: number;
  serverCpuMs: number | undefined;
}

async function measured(run: () => Promise<StormReport>): Promise<StormReport & Cost> {
  const before = process.cpuUsage();
  const serverBefore = await serverCpuMs();
  const report = await run();
  const { user, system } = process.cpuUsage(before);
  const serverAfter = await serverCpuMs();
  return {
    ...report,
    agentsCpuMs: (user + system) / 1_000,
    serverCpuMs: serverBefore === undefined || serverAfter === undefined ? undefined : serverAfter - serverBefore,
  };
}

async function serverCpuMs(): Promise<number | undefined> {
  const pid = values["server-pid"];
  if (pid === undefined) return undefined;
  const stat = await read(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * tickMs;
}

/** What a thousand agents on two cores must find: all in, in time, no answer but success or "later", /readyz undisturbed. */
function missedBars(name: string, report: StormReport, maxMs: number): string[] {
  const odd = Object.keys(report.statuses).filter((status) => status !== "200" && status !== "429");
  const bars: [boolean, string][] = [
    [report.joined === storm.agents, `${name}: ${storm.agents - report.joined} agents did not get in`],
    [report.durationMs <= maxMs, `${name}: took more than ${maxMs / 1_000} s`],
    [odd.length === 0 && Object.keys(report.failures).length === 0, `${name}: answers or failures other than 429`],
    [report.throttledWithoutRetryAfter === 0, `${name}: 429 without Retry-After`],
    [(report.readyz?.p99Ms ?? 0) <= maxReadyzP99Ms && report.readyz?.failures === 0, `${name}: /readyz was disturbed`],
  ];
  return bars.filter(([met]) => !met).map(([, text]) => text);
}

/** The report without the agents themselves. */
function figures({ agents: _, ...report }: StormReport & Cost): object {
  return report;
}

function print(name: string, report: StormReport & Cost): void {
  if (values.json) return;
  const { joined, durationMs, statuses, failures, retries, readyz, throttledWithoutRetryAfter } = report;
  console.log(`${name}: ${joined} agents in ${(durationMs / 1_000).toFixed(1)} s, ${retries} retries`);
  console.log(`  answers ${JSON.stringify(statuses)}, 429 without Retry-After: ${throttledWithoutRetryAfter}`);
  if (Object.keys(failures).length > 0) console.log(`  failures ${JSON.stringify(failures)}`);
  if (readyz !== undefined) {
    const { count, failures: failed, p50Ms, p99Ms, maxMs } = readyz;
    const times = [p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(1)).join(" / ");
    console.log(`  /readyz: ${count} answers, ${failed} failures, p50 / p99 / max ${times} ms`);
  }
  const answers = Object.values(statuses).reduce((sum, count) => sum + count, 0);
  const cost = (ms: number | undefined): string =>
    ms === undefined ? "?" : `${(ms / durationMs).toFixed(2)} cores (${(ms / answers).toFixed(2)} ms an answer)`;
  console.log(`  processor: agents ${cost(report.agentsCpuMs)}, server ${cost(report.serverCpuMs)}`);
}

import { type ChildProcess, fork } from "node:child_process";
import { errorMessage } from "@keelson/service";
import { type AgentEra, type AgentFiles, drawAgentKeys, type JoinedAgent, joinReplayAgent } from "./replay-agent.ts";

export interface StormOptions {
  server: string;
  token: string;
  agents: number;
  era?: AgentEra;
  /** Agents of an earlier storm, who come back with their password and files. */
  returning?: readonly JoinedAgent[];
  /** Administrator's credentials, with which `/readyz` is asked all the while. */
  probe?: { ca: string; cert: string; key: string };
  /** Gives up then. */
  timeoutMs?: number;
}

export interface StormReport {
  joined: number;
  durationMs: number;
  /** Answers by status, over all agents. */
  statuses: Record<string, number>;
  /** 429 answers without a Retry-After header: there must be none. */
  throttledWithoutRetryAfter: number;
  /** Failures that are not an HTTP answer, by text. */
  failures: Record<string, number>;
  retries: number;
  readyz: LatencyReport | undefined;
  agents: readonly JoinedAgent[];
}

export interface LatencyReport {
  count: number;
  failures: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
}

/** Lets many agents join one server at the same moment, each behaving as a stock one, and watches `/readyz` meanwhile. */
export async function runStorm(options: StormOptions): Promise<StormReport> {
  const { server, token, agents, era = "newest", returning, timeoutMs = 300_000 } = options;
  const statuses: Record<string, number> = {};
  const failures: Record<string, number> = {};
  let throttledWithoutRetryAfter = 0;
  const signal = AbortSignal.timeout(timeoutMs);
  // A thousand hosts make their keys at once; here it would be this machine's load.
  const keys: AgentFiles[] = [];
  while (era === "newest" && returning === undefined && keys.length < agents) keys.push(await drawAgentKeys());
  const probe = options.probe === undefined ? undefined : await startProbe(server, options.probe);
  const before = performance.now();
  const outcomes = await Promise.allSettled(
    Array.from({ length: agents }, (_, index) =>
      joinReplayAgent({
        era,
        server,
        token,
        nodeName: returning?.[index]?.nodeName ?? `storm-${index}`,
        nodeIps: [`10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`],
        ...(returning?.[index] === undefined
          ? { files: keys[index] ?? {} }
          : { nodePassword: returning[index].nodePassword, files: returning[index].files }),
        signal,
        onAnswer: (_path, answer) => {
          statuses[answer.status] = (statuses[answer.status] ?? 0) + 1;
          if (answer.status === 429 && answer.headers["retry-after"] === undefined) throttledWithoutRetryAfter++;
        },
        onRetry: (error) => {
          if ((error as { status?: number }).status !== undefined) return;
          const text = errorMessage(error);
          failures[text] = (failures[text] ?? 0) + 1;
        },
      }),
    ),
  );
  const durationMs = performance.now() - before;
  const joined = outcomes.filter((outcome) => outcome.status === "fulfilled").map((outcome) => outcome.value);
  return {
    joined: joined.length,
    durationMs,
    statuses,
    throttledWithoutRetryAfter,
    failures,
    retries: joined.reduce((sum, agent) => sum + agent.retries, 0),
    readyz: await probe?.stop(),
    agents: joined,
  };
}

/** The probe has a process of its own: the storm's event loop is busy, and would blame the server for it. */
async function startProbe(
  server: string,
  credentials: { ca: string; cert: string; key: string },
): Promise<{ stop(): Promise<LatencyReport> }> {
  const child: ChildProcess = fork(new URL("./replay-probe.ts", import.meta.url));
  const answer = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      child.once("message", resolve);
      child.once("exit", (code) => reject(new Error(`the probe ended with code ${code}`)));
    });
  const started = answer();
  child.send({ start: { server, ...credentials } });
  await started;
  return {
    async stop() {
      const report = answer();
      child.send({ stop: true });
      const latencies = (await report) as LatencyReport;
      child.removeAllListeners("exit");
      child.disconnect();
      return latencies;
    },
  };
}

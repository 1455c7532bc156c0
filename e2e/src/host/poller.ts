/**
 * Polls as a client on an agent's host: reads a ConfigMap through the agent's load balancer every 50 ms on a kept
 * connection, and asks each server for a pod's log twice a second. Prints one JSON line for each answer or failure.
 *
 * Environment: SERVER (the load balancer), SERVERS (host:port, comma-separated), LOG_PATH, CA, CERT, KEY (PEM).
 */
import { Agent, request } from "node:https";
import type { Poll } from "./poll-history.ts";

const periodMs = 50;
const logPeriodMs = 500;
const tls = { ca: process.env.CA, cert: process.env.CERT, key: process.env.KEY };
const kept = new Agent({ keepAlive: true, ...tls });

function get(url: string, agent: Agent | false, timeoutMs: number): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const signal = AbortSignal.timeout(timeoutMs);
    const req = request(url, { ...(agent === false ? { ...tls, agent } : { agent }), signal }, (res) => {
      let body = "";
      res.setEncoding("utf8").on("data", (chunk: string) => {
        body += chunk;
      });
      res.once("end", () => resolve({ status: res.statusCode ?? 0, body }));
      res.once("error", reject);
    });
    req.once("error", reject);
    req.end();
  });
}

async function poll(kind: Poll["kind"], target: string, url: string, agent: Agent | false, timeoutMs: number) {
  const startedMs = Date.now();
  let poll: Poll;
  try {
    const { status, body } = await get(url, agent, timeoutMs);
    const error = status === 200 ? undefined : `${status} ${body.slice(0, 200)}`;
    poll = { kind, target, startedMs, endedMs: Date.now(), ...(error === undefined ? {} : { error }) };
  } catch (error) {
    poll = { kind, target, startedMs, endedMs: Date.now(), error: String(error) };
  }
  process.stdout.write(`${JSON.stringify(poll)}\n`);
}

/** One after the other, as kubectl does, at least `everyMs` from start to start. */
async function forever(everyMs: number, once: () => Promise<void>): Promise<never> {
  for (;;) {
    const startedMs = performance.now();
    await once();
    const restMs = everyMs - (performance.now() - startedMs);
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, restMs)));
  }
}

const { SERVER = "", SERVERS = "", LOG_PATH = "" } = process.env;
const read = `${SERVER}/api/v1/namespaces/default/configmaps/polled`;
await Promise.all([
  forever(periodMs, () => poll("read", SERVER, read, kept, 30_000)),
  ...SERVERS.split(",").map((server) =>
    forever(logPeriodMs, () => poll("logs", server, `https://${server}${LOG_PATH}`, false, 5_000)),
  ),
]);

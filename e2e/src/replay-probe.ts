/**
 * Child process of the storm: asks `/readyz` every 50 ms on connections that it opened before, as kubelets and probes
 * do, and reports the latencies when told to. A request that has to wait for a connection counts from when it was due.
 */
import { Agent, request } from "node:https";

interface Start {
  server: string;
  ca: string;
  cert: string;
  key: string;
}

const periodMs = 50;
const connections = 8;
const latenciesMs: number[] = [];
let failures = 0;

process.on("message", (message: { start?: Start; stop?: true }) => {
  if (message.start !== undefined) {
    const { server, ...tls } = message.start;
    const agent = new Agent({ keepAlive: true, maxSockets: connections, maxFreeSockets: connections, ...tls });
    let open = 0;
    const ready = (): void => {
      if (++open < connections) return;
      latenciesMs.length = 0;
      process.send?.({ ready: true });
      setInterval(() => ask(server, agent), periodMs);
    };
    for (let index = 0; index < connections; index++) ask(server, agent, ready);
  }
  if (message.stop) process.send?.(report());
});
process.once("disconnect", () => process.exit(0));

function ask(server: string, agent: Agent, done: () => void = () => {}): void {
  const before = performance.now();
  const fail = (): void => {
    failures++;
  };
  const req = request(new URL("/readyz", server), { agent, timeout: 10_000 }, (res) => {
    if (res.statusCode !== 200) fail();
    res.resume();
    res.once("end", () => {
      latenciesMs.push(performance.now() - before);
      done();
    });
  });
  req.once("timeout", () => req.destroy(new Error("timeout")));
  req.once("error", fail);
  req.end();
}

function report() {
  const sorted = latenciesMs.toSorted((a, b) => a - b);
  const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
  return { count: sorted.length, failures, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

/**
 * Lets agents join a running server all at once, and then all come back:
 *   node e2e/src/replay-storm-cli.ts --server https://127.0.0.1:6443 --data-dir /var/lib/rancher/k3s --agents 1000
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { runStorm, type StormReport } from "./replay-storm.ts";

const { values } = parseArgs({
  options: {
    server: { type: "string", default: "https://127.0.0.1:6443" },
    "data-dir": { type: "string", default: "/var/lib/rancher/k3s" },
    agents: { type: "string", default: "1000" },
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

const first = await runStorm(storm);
print("join", first);
print("rejoin", await runStorm({ ...storm, returning: first.agents }));
process.exit(0);

function print(name: string, report: StormReport): void {
  const { joined, durationMs, statuses, failures, retries, readyz, throttledWithoutRetryAfter } = report;
  console.log(`${name}: ${joined} agents in ${(durationMs / 1_000).toFixed(1)} s, ${retries} retries`);
  console.log(`  answers ${JSON.stringify(statuses)}, 429 without Retry-After: ${throttledWithoutRetryAfter}`);
  if (Object.keys(failures).length > 0) console.log(`  failures ${JSON.stringify(failures)}`);
  if (readyz !== undefined) {
    const { count, failures: failed, p50Ms, p99Ms, maxMs } = readyz;
    const times = [p50Ms, p99Ms, maxMs].map((ms) => ms.toFixed(1)).join(" / ");
    console.log(`  /readyz: ${count} answers, ${failed} failures, p50 / p99 / max ${times} ms`);
  }
}

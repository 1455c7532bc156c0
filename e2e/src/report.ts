/**
 * Prints the results of fault runs as the table of docs/guarantees.md:
 *   KEELSON_E2E_REPORT=/tmp/faults.jsonl npm run e2e && node e2e/src/report.ts /tmp/faults.jsonl
 * Of several runs of the same fault the worst is shown, with how many there were.
 */
import { readFileSync } from "node:fs";
import type { FaultResult } from "./faults.ts";

const [path] = process.argv.slice(2);
if (path === undefined) {
  console.error("usage: node e2e/src/report.ts <report file>");
  process.exit(2);
}

const rows = new Map<string, { worst: FaultResult; runs: number }>();
for (const line of readFileSync(path, "utf8").split("\n")) {
  if (line === "") continue;
  const result = JSON.parse(line) as FaultResult;
  const key = `${result.topology}|${result.role}|${result.kind}`;
  const known = rows.get(key);
  const worst = known === undefined || result.outageMs > known.worst.outageMs ? result : known.worst;
  rows.set(key, { worst, runs: (known?.runs ?? 0) + 1 });
}

console.log("| topology | fault | away for | longest time without an acknowledged write | bound | runs |");
console.log("|---|---|---|---|---|---|");
// Suites may run side by side.
const sorted = [...rows.values()].sort((a, b) => a.worst.topology.localeCompare(b.worst.topology));
for (const { worst, runs } of sorted) {
  const { topology, role, kind, downMs, outageMs, maxOutageMs } = worst;
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
  const cells = [topology, `${kind} ${role}`, seconds(downMs), seconds(outageMs), seconds(maxOutageMs), String(runs)];
  console.log(`| ${cells.join(" | ")} |`);
}

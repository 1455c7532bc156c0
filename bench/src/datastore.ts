import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { createEtcdClient } from "@keelson/etcd-client";
import { type Work, works } from "./datastore/load.ts";
import { LoadGenerator } from "./datastore/load-generator.ts";
import { memoryVerdict, type Result, type SizeSeries, svg, table, verdict, withRatios } from "./datastore/report.ts";
import { availableTargets, startTarget, type TargetName, targetNames } from "./datastore/targets.ts";

/**
 * `npm run bench -- datastore`: the adapter on each backend beside etcd, on this machine, under one load: 64 clients on 8
 * connections, values of 1 KiB. Prints a table with ratios to etcd, writes an SVG plot, and with `--json` the figures.
 */
const usage = `usage: npm run bench -- datastore [options]
  --quick            5,000 objects and short works: under two minutes
  --targets a,b      of ${targetNames.join(", ")}
  --works a,b        of ${works.join(", ")}
  --objects a,b      object counts (5000,50000)
  --seconds n        length of each work but create (5; quick 2)
  --size-seconds n   length of the endless update load (60; quick 8; 0 leaves it out)
  --json file        write the figures
  --svg file         write the plot (datastore-bench.svg)`;

const sizeLoadSliceMs = 1_000;
/** History kept under the endless update load, small enough that the curve bends within the run. */
const sizeHistoryRevisions = 10_000;

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      targets: { type: "string" },
      works: { type: "string" },
      objects: { type: "string" },
      seconds: { type: "string" },
      "size-seconds": { type: "string" },
      json: { type: "string" },
      svg: { type: "string", default: "datastore-bench.svg" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const available = availableTargets();
  const targets = choose(values.targets, available);
  const chosenWorks = choose<Work>(values.works, works);
  const objectCounts = (values.objects ?? (values.quick ? "5000" : "5000,50000")).split(",").map(Number);
  const durationMs = Number(values.seconds ?? (values.quick ? 2 : 5)) * 1_000;
  const sizeSeconds = Number(values["size-seconds"] ?? (values.quick ? 8 : 60));
  for (const name of targetNames) {
    if (!available.includes(name)) console.log(`${name}: not installed on this host, left out`);
  }

  const results: Result[] = [];
  const sizes: SizeSeries[] = [];
  for (const objects of objectCounts) {
    for (const target of targets) results.push(...(await measure(target, objects, chosenWorks, durationMs)));
  }
  if (sizeSeconds > 0) {
    for (const target of targets) {
      if (target !== "etcd" && target !== "kine") sizes.push(await measureSize(target, sizeSeconds));
    }
  }

  const judged = withRatios(results).sort(
    (a, b) => a.objects - b.objects || works.indexOf(a.work) - works.indexOf(b.work),
  );
  console.log(`\n${table(judged)}`);
  for (const { target, points } of sizes) {
    console.log(
      `database size under endless updates, ${target}: ${points.map(([, mib]) => mib.toFixed(0)).join(" ")} MiB`,
    );
  }
  await write(values.svg, svg(judged, sizes));
  console.log(`\nplot: ${values.svg}`);
  if (values.json !== undefined) {
    await write(values.json, `${JSON.stringify({ results: judged, databaseSizes: sizes }, undefined, 2)}\n`);
  }
  const missed = judged.filter((result) => verdict(result) === "missed" || memoryVerdict(result) === "missed");
  const failed = judged.some(({ errors }) => errors > 0);
  console.log(
    missed.length === 0
      ? "all bars met"
      : `bars missed: ${missed.map(({ target, work, objects }) => `${target} ${work} ${objects}`).join(", ")}`,
  );
  return missed.length === 0 && !failed ? 0 : 1;
}

async function measure(
  name: TargetName,
  objects: number,
  chosenWorks: readonly Work[],
  durationMs: number,
): Promise<Result[]> {
  const target = await startTarget(name);
  const results: Result[] = [];
  try {
    const load = await LoadGenerator.start(target.url);
    // Everything works on objects, so that they are created even when that is not to be reported.
    for (const work of works.filter((known) => known === "create" || chosenWorks.includes(known))) {
      const { operations, errors, seconds, p50Ms, p99Ms, loadCpu } = await load.run({ work, objects, durationMs });
      const residentMiB = await target.residentMiB();
      const opsPerSecond = operations / seconds;
      console.log(
        `${name}, ${objects} objects, ${work}: ${Math.round(opsPerSecond)}/s, p99 ${p99Ms.toFixed(2)} ms, ${errors} errors, ${residentMiB.toFixed(0)} MiB`,
      );
      if (!chosenWorks.includes(work)) continue;
      results.push({
        target: name,
        work,
        objects,
        opsPerSecond,
        p50Ms,
        p99Ms,
        errors,
        residentMiB,
        ratioToEtcd: undefined,
        memoryRatio: undefined,
        loadCpu,
      });
    }
    await load.stop();
  } finally {
    await target.close();
  }
  return results;
}

/** Updates the same objects over and over and looks at the size once a second: compaction has to make it level off. */
async function measureSize(name: TargetName, seconds: number): Promise<SizeSeries> {
  const target = await startTarget(name, { historyRevisions: sizeHistoryRevisions });
  const client = createEtcdClient({ endpoints: [target.url] });
  const points: [number, number][] = [];
  try {
    const load = await LoadGenerator.start(target.url);
    await load.run({ work: "create", objects: 1_000, durationMs: 0 });
    for (let second = 0; second < seconds; second++) {
      await load.run({ work: "update", objects: 1_000, durationMs: sizeLoadSliceMs });
      points.push([second + 1, (await client.status()).dbSize / 2 ** 20]);
    }
    await load.stop();
  } finally {
    client.close();
    await target.close();
  }
  return { target: name, points };
}

function choose<T extends string>(text: string | undefined, known: readonly T[]): T[] {
  if (text === undefined) return [...known];
  return text.split(",").map((name) => {
    const found = known.find((candidate) => candidate === name);
    if (found === undefined) throw new Error(`"${name}" is not one of ${known.join(", ")}`);
    return found;
  });
}

async function write(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
}

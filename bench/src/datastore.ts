import { mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { levelsOff, measureSize, type SizeSeries } from "./datastore/database-size.ts";
import { type Work, works } from "./datastore/load.ts";
import { LoadGenerator } from "./datastore/load-generator.ts";
import { memoryVerdict, type Result, svg, table, verdict, withRatios } from "./datastore/report.ts";
import { availableTargets, startTarget, type TargetName, targetNames } from "./datastore/targets.ts";

/** The endless update load, beside the works that have a throughput. */
const sizeWork = "size";
/** A shorter run of it is not judged: it ends before compaction shows. */
const leastSizeSeconds = 30;

/**
 * `npm run bench -- datastore`: the adapter on each backend beside etcd, on this machine, under one load: 64 clients on 8
 * connections, values of 1 KiB. Prints a table with ratios to etcd, writes an SVG plot, and with `--json` the figures.
 */
const usage = `usage: npm run bench -- datastore [options]
  --quick            5,000 objects and short works: under two minutes
  --target a,b       of ${targetNames.join(", ")}; etcd always runs, because the others are ratios to it
  --works a,b        of ${[...works, sizeWork].join(", ")}
  --objects a,b      object counts (5000,50000)
  --seconds n        length of each work but create (5; quick 2)
  --size-seconds n   length of the endless update load (60; quick 8; 0 leaves it out)
  --json file        write the figures
  --svg file         write the plot (datastore-bench.svg)`;

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      quick: { type: "boolean", default: false },
      target: { type: "string" },
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
  const targets = choose(values.target, available);
  const chosenWorks = choose<Work | typeof sizeWork>(values.works, [...works, sizeWork]);
  const measuredWorks = works.filter((work) => chosenWorks.includes(work));
  const objectCounts = (values.objects ?? (values.quick ? "5000" : "5000,50000")).split(",").map(Number);
  const durationMs = Number(values.seconds ?? (values.quick ? 2 : 5)) * 1_000;
  const sizeSeconds = Number(values["size-seconds"] ?? (values.quick ? 8 : 60));
  for (const name of targetNames) {
    if (!available.includes(name)) console.log(`${name}: not installed on this host, left out`);
  }

  const results: Result[] = [];
  const sizes: SizeSeries[] = [];
  const startedMs = performance.now();
  if (measuredWorks.length > 0) {
    const compared = targetNames.filter((name) => name === "etcd" || targets.includes(name));
    for (const objects of objectCounts) {
      for (const target of compared) results.push(...(await measure(target, objects, measuredWorks, durationMs)));
    }
  }
  if (sizeSeconds > 0 && chosenWorks.includes(sizeWork)) {
    for (const target of targets) {
      if (target !== "etcd" && target !== "kine") sizes.push(await measureSize(target, sizeSeconds));
    }
  }

  const judged = withRatios(results).sort(
    (a, b) => a.objects - b.objects || works.indexOf(a.work) - works.indexOf(b.work),
  );
  if (judged.length > 0) console.log(`\n${table(judged)}`);
  for (const { target, points, updates } of sizes) {
    console.log(
      `database size under ${updates.toLocaleString("en")} updates, ${target}: ${points.map(([, mib]) => mib.toFixed(0)).join(" ")} MiB, ${levelsOff(points) ? "levels off" : "still grows"}`,
    );
  }
  await write(values.svg, svg(judged, sizes));
  console.log(`\nplot: ${values.svg}; the run took ${Math.round((performance.now() - startedMs) / 1_000)} s`);
  if (values.json !== undefined) {
    await write(values.json, `${JSON.stringify({ results: judged, databaseSizes: sizes }, undefined, 2)}\n`);
  }
  const missed = [
    ...judged
      .filter((result) => verdict(result) === "missed" || memoryVerdict(result) === "missed")
      .map(({ target, work, objects }) => `${target} ${work} ${objects}`),
    ...sizes
      .filter(({ points }) => points.length >= leastSizeSeconds && !levelsOff(points))
      .map(({ target }) => `${target} ${sizeWork}`),
  ];
  const failed = judged.some(({ errors }) => errors > 0);
  console.log(missed.length === 0 ? "all bars met" : `bars missed: ${missed.join(", ")}`);
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
      const residentMiB = target.residentMiB();
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

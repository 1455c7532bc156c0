import { createEtcdClient } from "@keelson/etcd-client";
import { LoadGenerator } from "./load-generator.ts";
import { startTarget, type TargetName } from "./targets.ts";

/** Database size over time under an endless update load. */
export interface SizeSeries {
  target: TargetName;
  updates: number;
  /** Seconds and MiB. */
  points: [number, number][];
}

const objects = 1_000;
const sliceMs = 1_000;
/** History kept, small enough that the curve bends within the run. */
const historyRevisions = 10_000;
/** How much larger the last third of a run may be than the third before it. */
const levelGrowth = 1.1;

/** Updates the same objects over and over and looks at the size once a second: compaction has to make it level off. */
export async function measureSize(name: TargetName, seconds: number): Promise<SizeSeries> {
  const target = await startTarget(name, { historyRevisions });
  const client = createEtcdClient({ endpoints: [target.url] });
  const points: [number, number][] = [];
  let updates = 0;
  try {
    const load = await LoadGenerator.start(target.url);
    await load.run({ work: "create", objects, durationMs: 0 });
    for (let second = 1; second <= seconds; second++) {
      updates += (await load.run({ work: "update", objects, durationMs: sliceMs })).operations;
      points.push([second, (await client.status()).dbSize / 2 ** 20]);
    }
    await load.stop();
  } finally {
    client.close();
    await target.close();
  }
  return { target: name, updates, points };
}

/**
 * Whether the last third of the run is as large as the third before, give or take a little. By their medians: what a database
 * has allocated goes up and down with its own purge, and endless growth shows in the median as well.
 */
export function levelsOff(points: SizeSeries["points"]): boolean {
  const third = Math.floor(points.length / 3);
  const median = (from: number, to?: number): number => {
    const sizes = points.slice(from, to).map(([, mib]) => mib);
    return sizes.sort((a, b) => a - b)[Math.floor(sizes.length / 2)] ?? 0;
  };
  return median(-third) <= levelGrowth * median(-2 * third, -third);
}

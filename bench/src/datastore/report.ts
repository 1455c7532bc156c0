import { type BarChart, type LineChart, svgDocument } from "../svg-plot.ts";
import type { SizeSeries } from "./database-size.ts";
import type { Work } from "./load.ts";
import type { TargetName } from "./targets.ts";

/** One line of the report, as `--json` writes it. */
export interface Result {
  target: TargetName;
  work: Work;
  objects: number;
  /** Requests a second; of `list` objects a second; of `watch` delivered events a second. */
  opsPerSecond: number;
  p50Ms: number;
  p99Ms: number;
  errors: number;
  residentMiB: number;
  /** Throughput over etcd's in the same run; of `watch` the 99th percentile over etcd's, where less is better. */
  ratioToEtcd: number | undefined;
  /** Resident memory over etcd's after the same work. */
  memoryRatio: number | undefined;
  /** Share of one core that the load generator used. */
  loadCpu: number;
}

type Bars = Partial<Record<Work, number>>;
const reads: Bars = { get: 1.5, list: 1.2, mixed: 1.5, watch: 1.0 };
/** What each target must reach, as a ratio to etcd in the same run. */
const bars: Partial<Record<TargetName, Bars>> = {
  sqlite: { ...reads, create: 1.2, update: 1.2 },
  postgres: { ...reads, create: 0.5, update: 0.5 },
  mariadb: { ...reads, create: 0.5, update: 0.5 },
};
/** Resident memory over etcd's at 50,000 objects on SQLite. */
const memoryBar = { target: "sqlite", objects: 50_000, ratio: 1.0 } as const;

export type Verdict = "met" | "missed" | undefined;

/** Fills in the ratios, which need etcd's results. */
export function withRatios(results: readonly Result[]): Result[] {
  return results.map((result) => {
    const etcd = results.find(
      ({ target, work, objects }) => target === "etcd" && work === result.work && objects === result.objects,
    );
    if (etcd === undefined) return result;
    const ratio = result.work === "watch" ? result.p99Ms / etcd.p99Ms : result.opsPerSecond / etcd.opsPerSecond;
    return { ...result, ratioToEtcd: round(ratio), memoryRatio: round(result.residentMiB / etcd.residentMiB) };
  });
}

export function verdict({ target, work, ratioToEtcd }: Result): Verdict {
  const bar = bars[target]?.[work];
  if (bar === undefined || ratioToEtcd === undefined) return undefined;
  const isMet = work === "watch" ? ratioToEtcd <= bar : ratioToEtcd >= bar;
  return isMet ? "met" : "missed";
}

export function memoryVerdict({ target, objects, work, memoryRatio }: Result): Verdict {
  if (target !== memoryBar.target || objects !== memoryBar.objects || work !== "mixed" || memoryRatio === undefined) {
    return undefined;
  }
  return memoryRatio <= memoryBar.ratio ? "met" : "missed";
}

export function table(results: readonly Result[]): string {
  const head = [
    "objects",
    "work",
    "target",
    "ops/s",
    "p50 ms",
    "p99 ms",
    "errors",
    "MiB",
    "to etcd",
    "bar",
    "load CPU",
  ];
  const rows = results.map((result) => [
    result.objects.toLocaleString("en"),
    result.work,
    result.target,
    Math.round(result.opsPerSecond).toLocaleString("en"),
    result.p50Ms.toFixed(2),
    result.p99Ms.toFixed(2),
    String(result.errors),
    result.residentMiB.toFixed(0),
    result.ratioToEtcd?.toFixed(2) ?? "",
    barText(result),
    `${Math.round(result.loadCpu * 100)} %`,
  ]);
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column < 3 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ");
  return [line(head), ...rows.map(line)].join("\n");
}

function barText(result: Result): string {
  const bar = bars[result.target]?.[result.work];
  const judged = verdict(result);
  if (bar === undefined || judged === undefined) return "";
  return `${result.work === "watch" ? "<=" : ">="} ${bar.toFixed(1)} ${judged}`;
}

export function svg(results: readonly Result[], sizes: readonly SizeSeries[]): string {
  const objectCounts = [...new Set(results.map(({ objects }) => objects))];
  const targets = [...new Set(results.map(({ target }) => target))].filter((target) => target !== "etcd");
  const charts: (BarChart | LineChart)[] = [];
  for (const objects of objectCounts) {
    const works = [...new Set(results.filter((result) => result.objects === objects).map(({ work }) => work))];
    charts.push({
      title: `Ratio to etcd at ${objects.toLocaleString("en")} objects (throughput; watch: p99, less is better). Dashed: bar of SQLite`,
      groups: works,
      series: targets.map((name) => ({
        name,
        values: works.map(
          (work) =>
            results.find((result) => result.target === name && result.work === work && result.objects === objects)
              ?.ratioToEtcd,
        ),
      })),
      bars: works.map((work) => bars.sqlite?.[work]),
    });
  }
  if (sizes.length > 0) {
    charts.push({
      title: "Database size under endless updates, MiB",
      xLabel: "seconds",
      series: sizes.map(({ target, points }) => ({ name: target, points })),
    });
  }
  return svgDocument(charts);
}

function round(value: number): number {
  return Math.round(value * 1_000) / 1_000;
}

import { Counter, errorCode, Histogram, type Logger, type Registry } from "@keelson/service";

/** kine's buckets: 1 ms times the powers of two up to 8 s. */
const buckets = Array.from({ length: 14 }, (_, power) => 0.001 * 2 ** power);
const slowLogTextLength = 60;

export interface SqlObserverOptions {
  log: Logger;
  registry: Registry;
  /** Statements that take longer are logged (1000); 0 turns the log off. */
  slowQueryMs?: number | undefined;
}

/** Counts and times every statement, under kine's metric names, and logs the slow ones. */
export class SqlObserver {
  readonly #log: Logger;
  readonly #slowQueryMs: number;
  readonly #total: Counter<"name" | "error_code">;
  readonly #seconds: Histogram<"name" | "error_code">;

  constructor({ log, registry, slowQueryMs = 1_000 }: SqlObserverOptions) {
    this.#log = log;
    this.#slowQueryMs = slowQueryMs;
    this.#total =
      (registry.getSingleMetric("kine_sql_total") as Counter<"name" | "error_code"> | undefined) ??
      new Counter({
        name: "kine_sql_total",
        help: "Statements sent to the database",
        labelNames: ["name", "error_code"],
        registers: [registry],
      });
    this.#seconds =
      (registry.getSingleMetric("kine_sql_time_seconds") as Histogram<"name" | "error_code"> | undefined) ??
      new Histogram({
        name: "kine_sql_time_seconds",
        help: "Time from sending a statement to its answer",
        labelNames: ["name", "error_code"],
        buckets,
        registers: [registry],
      });
  }

  /** Runs one named statement and notes how it went. */
  async watch<T>(name: string, run: () => Promise<T>): Promise<T> {
    const startedMs = performance.now();
    try {
      const result = await run();
      this.#note(name, "", performance.now() - startedMs);
      return result;
    } catch (error) {
      this.#note(name, errorCode(error) ?? "unknown", performance.now() - startedMs);
      throw error;
    }
  }

  #note(name: string, code: string, durationMs: number): void {
    const labels = { name, error_code: code };
    this.#total.inc(labels);
    this.#seconds.observe(labels, durationMs / 1_000);
    if (this.#slowQueryMs > 0 && durationMs >= this.#slowQueryMs) {
      const text = name.slice(0, slowLogTextLength);
      this.#log.warn({ query: text, durationMs: Math.round(durationMs), errorCode: code }, "slow database statement");
    }
  }
}

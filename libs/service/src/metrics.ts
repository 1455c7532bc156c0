import { createRequire } from "node:module";
import type * as prom from "prom-client";

// Piece by piece: the package's index also loads what measures the process, 8 MiB that an agent nobody scrapes can do without.
const require = createRequire(import.meta.url);
export const Registry = require("prom-client/lib/registry.js") as typeof prom.Registry;
export const Counter = require("prom-client/lib/counter.js") as typeof prom.Counter;
export const Gauge = require("prom-client/lib/gauge.js") as typeof prom.Gauge;
export const Histogram = require("prom-client/lib/histogram.js") as typeof prom.Histogram;
export type Registry = prom.Registry;
export type Counter<T extends string = string> = prom.Counter<T>;
export type Gauge<T extends string = string> = prom.Gauge<T>;
export type Histogram<T extends string = string> = prom.Histogram<T>;

/**
 * A registry of one process: parts that share the process share it, so that `/metrics` shows them together. Metrics of the
 * process itself (memory, event loop, garbage collection) begin with the first scrape.
 */
export function createRegistry(options: { defaultMetrics?: boolean } = {}): Registry {
  const registry = new Registry();
  if (options.defaultMetrics ?? true) {
    const scrape = registry.metrics.bind(registry);
    registry.metrics = () => {
      registry.metrics = scrape;
      const collect = require("prom-client/lib/defaultMetrics.js") as typeof prom.collectDefaultMetrics;
      collect({ register: registry });
      return scrape();
    };
  }
  return registry;
}

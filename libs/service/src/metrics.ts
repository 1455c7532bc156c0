import { createRequire } from "node:module";
import type * as PromClient from "prom-client";

/**
 * prom-client's classes, loaded one by one: its front door also loads the cluster aggregator, the push gateway and the
 * process metrics, which cost 13 MiB that an agent can do without.
 */
const load = createRequire(import.meta.url);

export const Registry = load("prom-client/lib/registry") as typeof PromClient.Registry;
export type Registry = PromClient.Registry;
export const Counter = load("prom-client/lib/counter") as typeof PromClient.Counter;
export type Counter<Label extends string = string> = PromClient.Counter<Label>;
export const Gauge = load("prom-client/lib/gauge") as typeof PromClient.Gauge;
export type Gauge<Label extends string = string> = PromClient.Gauge<Label>;
export const Histogram = load("prom-client/lib/histogram") as typeof PromClient.Histogram;
export type Histogram<Label extends string = string> = PromClient.Histogram<Label>;

/**
 * A registry of one process: parts that share the process share it, so that `/metrics` shows them together. Process
 * metrics (memory, event loop, garbage collection) are for those who serve `/metrics`.
 */
export function createRegistry(options: { defaultMetrics?: boolean } = {}): Registry {
  const registry = new Registry();
  if (options.defaultMetrics ?? true) {
    const collectDefaultMetrics = load("prom-client/lib/defaultMetrics") as typeof PromClient.collectDefaultMetrics;
    collectDefaultMetrics({ register: registry });
  }
  return registry;
}

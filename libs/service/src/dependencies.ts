import { type Clock, systemClock } from "./clock.ts";
import { type Logger, silentLogger } from "./logger.ts";
import type { Registry } from "./metrics.ts";
import { createRegistry } from "./metrics.ts";

/** What every app's factory takes beside its own options. */
export interface Dependencies {
  log: Logger;
  clock: Clock;
  /** Where the part registers its metrics. */
  registry: Registry;
}

/** Fills in what a caller (most often a test) left out. */
export function withDefaults(partial: Partial<Dependencies> = {}): Dependencies {
  return {
    log: partial.log ?? silentLogger,
    clock: partial.clock ?? systemClock,
    registry: partial.registry ?? createRegistry({ defaultMetrics: false }),
  };
}

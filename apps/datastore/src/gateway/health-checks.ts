import { errorMessage } from "@keelson/service";
import type { Core } from "../core.ts";
import { type Alarms, alarmNames } from "../services/alarms.ts";
import type { HealthChecks } from "./http-endpoints.ts";

/** A health check that takes longer than this has failed. */
const readTimeoutMs = 2_000;

/** What `/health` and `/readyz` look at. */
export function healthChecks(core: Core, alarms: Alarms): HealthChecks {
  return {
    alarms: () => alarms.active.map(({ alarm }) => alarmNames[alarm] ?? String(alarm)),
    write: () => (core.queue.failure === undefined ? undefined : errorMessage(core.queue.failure)),
    async read() {
      const asked = core.linearize();
      if (asked === undefined) return undefined;
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<string>((resolve) => {
        timer = setTimeout(() => resolve("etcdserver: request timed out"), readTimeoutMs);
      });
      try {
        return await Promise.race([asked.then(() => undefined, errorMessage), late]);
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

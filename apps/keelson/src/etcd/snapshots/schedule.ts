import { errorMessage, KeelsonError, parseDuration } from "@keelson/service";

/** When something is due next after a moment, both in milliseconds since the epoch; infinity for never. */
export type Schedule = (afterMs: number) => number;

const shortestPeriodMs = 1_000;

/**
 * Reads a schedule as K3s does: five fields in local time (or with `CRON_TZ=<zone>` before them), `@daily` and its like, or
 * `@every <duration>`. Throws `option/invalid`.
 */
export async function parseSchedule(text: string): Promise<Schedule> {
  try {
    const every = /^@every\s+(\S+)$/.exec(text.trim());
    if (every !== null) {
      const periodMs = Math.max(shortestPeriodMs, parseDuration(every[1]!));
      return (afterMs) => afterMs + periodMs;
    }
    const [, timezone, fields = ""] = /^(?:(?:CRON_)?TZ=(\S+)\s+)?(.*)$/.exec(text.trim())!;
    if (!/^@\w+$|^\S+(\s+\S+){4}$/.test(fields)) throw new Error("it has not five fields");
    const { Cron } = await import("croner");
    const cron = new Cron(fields, { paused: true, ...(timezone === undefined ? {} : { timezone }) });
    const next: Schedule = (afterMs) => cron.nextRun(new Date(afterMs))?.getTime() ?? Number.POSITIVE_INFINITY;
    if (next(0) === Number.POSITIVE_INFINITY) throw new Error("that day never comes");
    return next;
  } catch (cause) {
    throw new KeelsonError(
      "option/invalid",
      `--etcd-snapshot-schedule-cron cannot be "${text}": ${errorMessage(cause)}`,
      { hint: 'give minute, hour, day, month and weekday ("0 */12 * * *"), "@daily" or "@every 5h"', cause },
    );
  }
}

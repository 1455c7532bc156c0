import { type Clock, errorMessage } from "@keelson/service";
import { pause } from "./join.ts";

const firstNoticeMs = 5_000;
const noticeIntervalMs = 15_000;
const retryMs = 250;

/**
 * Waits until `check` gives no problem, however long that takes, and calls `notice` with the problem after five seconds
 * and then every fifteen. Rejects with the signal's reason when it aborts.
 */
export async function waitUntilWell(
  check: () => Promise<string | undefined>,
  notice: (problem: string) => Promise<void>,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<void> {
  let noticeAt = clock.monotonic() + firstNoticeMs;
  for (;;) {
    signal.throwIfAborted();
    const problem = await check().catch(errorMessage);
    if (problem === undefined) return;
    if (clock.monotonic() >= noticeAt) {
      noticeAt = clock.monotonic() + noticeIntervalMs;
      await notice(problem);
    }
    await pause(clock, retryMs, signal);
  }
}

import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { Backoff, errorCode, errorMessage, type Logger, sleep } from "@keelson/service";

export interface PatienceOptions {
  log: Logger;
  /** Ends the waiting; the attempt that runs is waited for. */
  signal: AbortSignal;
  backoff?: Backoff;
}

/**
 * Repeats an attempt at what another machine must be there for, with growing pauses, for as long as that machine is away.
 * The log says what is waited for when it starts to be, when the reason changes, and when it has come. Any error but
 * absence is thrown at once.
 */
export async function waitFor<T>(what: string, attempt: () => Promise<T>, options: PatienceOptions): Promise<T> {
  const { log, signal, backoff = new Backoff() } = options;
  let told: string | undefined;
  for (;;) {
    signal.throwIfAborted();
    try {
      const result = await attempt();
      if (told !== undefined) log.info(`${what} is there`);
      return result;
    } catch (error) {
      if (!isAbsence(error)) throw error;
      const reason = errorMessage(error);
      if (reason !== told) log.warn({ reason }, `waiting for ${what}`);
      told = reason;
    }
    await sleep(backoff.next(), signal);
  }
}

const absentStatuses: ReadonlySet<number> = new Set([grpcStatus.unavailable, grpcStatus.deadlineExceeded]);
const absentCodes: ReadonlySet<string | undefined> = new Set(["server/unreachable", "registration/unreachable"]);

/** Whether an error says no more than that the other side does not answer now. */
function isAbsence(error: unknown): boolean {
  if (error instanceof RpcError) return absentStatuses.has(error.code);
  return absentCodes.has(errorCode(error));
}

import { type Clock, errorMessage, KeelsonError, type Timer } from "@keelson/service";
import { ServerConnection } from "./server-connection.ts";

export interface DialOptions {
  /** How long one attempt may take, in milliseconds. */
  timeoutMs: number;
  /** How long an attempt is given alone before the next candidate is tried beside it, in milliseconds. */
  hedgeAfterMs: number;
}

export interface DialEvents {
  /** An attempt failed; a silent one fails by its timeout even when another has won meanwhile. */
  failed(address: string, reason: string): void;
}

/**
 * Dials candidates in order of preference and resolves with the first connection. A refused candidate hands over to the
 * next at once; a silent one (black hole, full accept queue) is left running while the next is tried, so a dead path
 * costs one hedge delay instead of a timeout.
 */
export function dialFirst(
  candidates: readonly string[],
  options: DialOptions,
  clock: Clock,
  events: DialEvents,
): Promise<{ address: string; connection: ServerConnection }> {
  return new Promise((resolve, reject) => {
    let next = 0;
    let running = 0;
    let settled = false;
    let hedge: Timer | undefined;
    const failures: string[] = [];

    const startNext = (): void => {
      hedge?.cancel();
      const address = candidates[next++];
      if (address === undefined) return;
      running++;
      attempt(address);
      hedge = clock.setTimeout(startNext, options.hedgeAfterMs);
    };

    const attempt = (address: string): void => {
      const connection = new ServerConnection(address);
      const { socket } = connection;
      const timer = clock.setTimeout(() => {
        socket.destroy(new Error(`no answer within ${options.timeoutMs} ms`));
      }, options.timeoutMs);
      const onError = (error: Error): void => {
        timer.cancel();
        running--;
        const reason = errorMessage(error);
        failures.push(`${address}: ${reason}`);
        events.failed(address, reason);
        if (settled) return;
        if (next < candidates.length) startNext();
        else if (running === 0) finish();
      };
      socket.once("error", onError);
      socket.once("connect", () => {
        timer.cancel();
        running--;
        socket.off("error", onError);
        if (settled) {
          socket.on("error", () => {}); // lost the race: nobody needs it, and nobody needs to hear of it
          socket.destroy();
          return;
        }
        settled = true;
        hedge?.cancel();
        resolve({ address, connection });
      });
    };

    const finish = (): void => {
      settled = true;
      hedge?.cancel();
      reject(
        new KeelsonError("load-balancer/no-server", `no server could be reached (${failures.join("; ")})`, {
          hint: "check that a server runs and that this host may reach its port",
        }),
      );
    };

    if (candidates.length === 0) finish();
    else startNext();
  });
}

import { Agent, request } from "node:https";
import { KeelsonError } from "@keelson/service";
import { splitAddress } from "./address.ts";

/** Asks a server whether it answers; rejects with the reason when it does not. */
export interface HealthProbe {
  check(address: string, signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface HttpsProbeOptions {
  /** PEM of the CA that must have signed the server's certificate; a function follows a rotation. */
  ca: () => string | undefined;
  /** Path to ask for; every supervisor answers `/ping` without credentials. */
  path?: string;
}

/**
 * TLS and one GET on a kept connection: a server that accepts TCP and then says nothing (stopped, wedged, a black hole
 * behind a balancer) is down. When the kept connection is gone, the same check tries a fresh one.
 */
export function createHttpsProbe(options: HttpsProbeOptions): HealthProbe {
  const agent = new Agent({ keepAlive: true, maxSockets: 2, maxFreeSockets: 1 });
  const once = (address: string, signal: AbortSignal): Promise<{ reused: boolean; error?: Error }> => {
    const { host, port } = splitAddress(address);
    const ca = options.ca();
    return new Promise((resolve) => {
      const req = request({
        host,
        port,
        path: options.path ?? "/ping",
        agent,
        signal,
        // Without a CA there is nothing to verify against yet; an answer is all that is asked for, and no secret is sent.
        ...(ca === undefined ? { rejectUnauthorized: false } : { ca }),
      });
      req.once("response", (res) => {
        res.resume();
        const ok = res.statusCode !== undefined && res.statusCode < 500;
        res.once("close", () =>
          resolve(
            ok
              ? { reused: req.reusedSocket }
              : {
                  reused: false,
                  error: new KeelsonError("load-balancer/unhealthy", `health check answered ${res.statusCode}`),
                },
          ),
        );
      });
      req.once("error", (error) => resolve({ reused: req.reusedSocket, error }));
      req.end();
    });
  };
  return {
    async check(address, signal) {
      let result = await once(address, signal);
      if (result.error !== undefined && result.reused && !signal.aborted) result = await once(address, signal);
      if (result.error !== undefined) throw result.error;
    },
    close: () => agent.destroy(),
  };
}

import { Agent, request } from "node:https";
import { errorCode, KeelsonError } from "@keelson/service";
import { splitAddress } from "./address.ts";

/**
 * Asks a server whether it answers; rejects with the reason when it does not. Ended by its signal, it says how far it got.
 */
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
      let connected = false;
      const req = request({
        host,
        port,
        path: options.path ?? "/ping",
        agent,
        signal,
        // Without a CA there is nothing to verify against yet; an answer is all that is asked for, and no secret is sent.
        // With one its signature is enough: bytes are relayed to whatever address leads there, a balancer's or a forwarded
        // one, and only clients know under which name they want the server.
        ...(ca === undefined ? { rejectUnauthorized: false } : { ca, checkServerIdentity: () => undefined }),
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
      req.once("socket", (socket) => {
        if (!socket.connecting) connected = true;
        else socket.once("connect", () => (connected = true));
      });
      req.once("error", (error) => {
        const reused = req.reusedSocket;
        resolve({ reused, error: signal.aborted && !reused ? silence(connected) : described(error) });
      });
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

/** What OpenSSL says of a certificate whose signer is not among the CAs it was given. */
const foreignCodes: readonly (string | undefined)[] = [
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_SIGNATURE_FAILURE",
];

function described(cause: Error): Error {
  if (!foreignCodes.includes(errorCode(cause))) return cause;
  return new KeelsonError("load-balancer/foreign", "its certificate is not of this cluster's CA", { cause });
}

/** The two silences mean different things to whoever mends them: a process that hangs, or a host that is not there. */
function silence(connected: boolean): KeelsonError {
  return connected
    ? new KeelsonError("load-balancer/no-answer", "it accepts connections but does not answer")
    : new KeelsonError("load-balancer/no-connection", "no connection to it can be made");
}

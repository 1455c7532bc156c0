import { Agent, request } from "node:https";
import { clockSkew } from "@keelson/protocol/supervisor";
import { errorMessage, KeelsonError } from "@keelson/service";

export interface SupervisorAnswer {
  status: number;
  body: Buffer;
}

export interface SupervisorRequest {
  method?: "GET" | "POST";
  path: string;
  headers?: Record<string, string>;
  body?: Buffer;
}

/** K3s's client gives a supervisor call ten seconds. */
const timeoutMs = 10_000;
const maxBodyBytes = 4 * 1024 * 1024;

/**
 * Calls to the supervisor on kept connections, all to one address (the local load balancer). Until the CA is known and
 * pinned only `/cacerts` is asked for, and nothing secret is sent.
 */
export class SupervisorClient {
  readonly #host: string;
  readonly #port: number;
  readonly #agent: Agent;
  readonly #authorization: string | undefined;
  #skew: { skewMs: number; errorMs: number } | undefined;

  constructor(options: {
    host: string;
    port: number;
    /** PEM of the server CA; left out, the server is not verified (only to fetch the CA itself). */
    ca?: string;
    authorization?: string;
    clientCertificate?: { cert: string; key: string };
  }) {
    this.#host = options.host;
    this.#port = options.port;
    this.#authorization = options.authorization;
    const trust = options.ca === undefined ? { rejectUnauthorized: false } : { ca: options.ca };
    this.#agent = new Agent({ keepAlive: true, maxSockets: 8, ...trust, ...options.clientCertificate });
  }

  /** How far our clock is from the server's, as of the last answer. */
  get clockSkew(): { skewMs: number; errorMs: number } | undefined {
    return this.#skew;
  }

  /** Sends a request; rejects with `supervisor/unreachable` when there is no answer, whatever its status. */
  send({ method = "GET", path, headers, body }: SupervisorRequest): Promise<SupervisorAnswer> {
    const sentAtMs = Date.now();
    return new Promise((resolve, reject) => {
      const fail = (cause: Error): void => {
        reject(new KeelsonError("supervisor/unreachable", `no answer to ${path}`, { cause }));
      };
      const req = request({
        host: this.#host,
        port: this.#port,
        method,
        path,
        agent: this.#agent,
        timeout: timeoutMs,
        headers: {
          ...(this.#authorization === undefined ? {} : { authorization: this.#authorization }),
          ...(body === undefined ? {} : { "content-length": String(body.length) }),
          ...headers,
        },
      });
      const deadline = setTimeout(() => req.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
      req.on("error", fail);
      req.on("close", () => clearTimeout(deadline));
      req.on("response", (res) => {
        const chunks: Buffer[] = [];
        let length = 0;
        res.on("data", (chunk: Buffer) => {
          length += chunk.length;
          if (length > maxBodyBytes) req.destroy(new Error("the answer is too long"));
          else chunks.push(chunk);
        });
        res.on("error", fail);
        res.on("end", () => {
          this.#skew = clockSkew(res.headers.date, sentAtMs, Date.now()) ?? this.#skew;
          resolve({ status: res.statusCode ?? 0, body: Buffer.concat(chunks) });
        });
      });
      req.end(body);
    });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** What a refusing server said: the message of a Kubernetes Status, or the text itself. */
export function refusalText({ status, body }: SupervisorAnswer): string {
  const text = body.toString("utf8").trim();
  if (text === "") return `HTTP ${status}`;
  try {
    const { message } = JSON.parse(text) as { message?: unknown };
    if (typeof message === "string") return message;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw new Error(errorMessage(error));
  }
  return text.slice(0, 300);
}

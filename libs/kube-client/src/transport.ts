import type { ClientRequest, Agent as HttpAgent, IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { http } from "@keelson/service";
import { KubeError } from "./errors.ts";

/** Where the API is: an HTTPS address with TLS material (PEM), or the Unix socket of a process beside us. */
export type KubeTarget =
  | { server: string; tls: { ca: string; cert?: string; key?: string }; token?: string }
  | { socketPath: string };

export interface RawRequest {
  method: string;
  /** Path with query. */
  path: string;
  headers?: Record<string, string>;
  body?: string | Uint8Array;
  signal?: AbortSignal;
  /** Milliseconds without an answer before the call fails; undefined waits (watches). */
  timeoutMs?: number;
}

/** Keep-alive HTTP/1.1 to one API server. TLS material may be replaced while calls go on. */
export class Transport {
  #target: KubeTarget;
  #agent: HttpAgent | HttpsAgent;

  constructor(target: KubeTarget) {
    this.#target = target;
    this.#agent = makeAgent(target);
  }

  /** Uses other credentials or another address from the next call on; calls under way finish as they are. */
  retarget(target: KubeTarget): void {
    const old = this.#agent;
    this.#target = target;
    this.#agent = makeAgent(target);
    old.destroy();
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Sends a request; resolves when the response's head is there, whatever its status. */
  send(call: RawRequest): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#open(call);
      const unreachable = (cause: Error): void => {
        reject(new KubeError(0, "", `cannot reach the Kubernetes API at ${this.#name()}`, { cause }));
      };
      const timer =
        call.timeoutMs === undefined
          ? undefined
          : setTimeout(() => outgoing.destroy(new Error(`no answer within ${call.timeoutMs} ms`)), call.timeoutMs);
      outgoing.on("error", (error) => {
        clearTimeout(timer);
        unreachable(error);
      });
      outgoing.on("response", (response) => {
        clearTimeout(timer);
        resolve(response);
      });
      outgoing.end(call.body);
    });
  }

  #open({ method, path, headers, signal }: RawRequest): ClientRequest {
    const target = this.#target;
    const common = { method, path, agent: this.#agent, ...(signal === undefined ? {} : { signal }) };
    if ("socketPath" in target) {
      return http.request({ ...common, socketPath: target.socketPath, headers: { host: "localhost", ...headers } });
    }
    const { hostname, port } = new URL(target.server);
    const authorization = target.token === undefined ? {} : { authorization: `Bearer ${target.token}` };
    return httpsRequest({
      ...common,
      host: hostname.replace(/^\[|\]$/g, ""),
      port: port === "" ? 443 : Number(port),
      headers: { ...authorization, ...headers },
    });
  }

  #name(): string {
    return "socketPath" in this.#target ? this.#target.socketPath : this.#target.server;
  }
}

function makeAgent(target: KubeTarget): HttpAgent | HttpsAgent {
  if ("socketPath" in target) return new http.Agent({ keepAlive: true });
  return new HttpsAgent({ keepAlive: true, ...target.tls });
}

/** Reads a body to its end. */
export async function readBody(response: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

import { Agent, request } from "node:https";
import type {
  Answer,
  Authentication,
  CaBundles,
  LeafSummary,
  ListenerCertificate,
  RegistrationClient,
  ServerConfig,
} from "@keelson/protocol/supervisor";
import { errorMessage, KeelsonError } from "@keelson/service";
import { decodeMessage, encodeMessage, type Method, maxMessageBytes, methodPath } from "./wire.ts";

export interface RegistrationHttpOptions {
  /** `https://host:port` of the internal API. */
  url: string;
  /** Read for each new connection, so that renewed certificates are used without a restart. */
  tls: () => { ca: string; cert: string; key: string };
  /** How long a call may take, in milliseconds (15000): a node password may wait for its hash. */
  timeoutMs?: number;
}

/** A {@link RegistrationClient} over mutual TLS, with the same answers as a call in one process. */
export function createRegistrationHttpClient(options: RegistrationHttpOptions): RegistrationClient & { close(): void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 16 });
  const call = async <T>(method: Method, args: unknown = {}): Promise<T> =>
    (await postMessage({ ...options, path: methodPath(method), agent, message: args, ...options.tls() })) as T;
  return {
    authenticate: (credentials) => call<Authentication>("authenticate", credentials),
    issueCertificate: (req) => call<Answer<string>>("issueCertificate", req),
    signListener: (req) => call<Answer<ListenerCertificate>>("signListener", req),
    caBundles: () => call<CaBundles>("caBundles"),
    clusterConfig: () => call<ServerConfig>("clusterConfig"),
    apiServers: () => call<string[]>("apiServers"),
    readiness: () => call<Answer<"ok">>("readiness"),
    serverBootstrap: () => call<Answer<string>>("serverBootstrap"),
    rotateToken: (newToken) => call<Answer<void>>("rotateToken", { newToken }),
    replaceCas: (bootstrapJson, force) => call<Answer<void>>("replaceCas", { bootstrapJson, force }),
    leafStatus: () => call<LeafSummary[]>("leafStatus"),
    renewLeaf: (name) => call<Answer<void>>("renewLeaf", { name }),
    close: () => agent.destroy(),
  };
}

export interface PostOptions {
  url: string;
  path: string;
  message: unknown;
  ca: string;
  cert?: string;
  key?: string;
  authorization?: string;
  agent?: Agent;
  timeoutMs?: number;
}

/** Sends one message of the internal API. Throws `registration/unreachable`, or `registration/refused` with the status. */
export async function postMessage(options: PostOptions): Promise<unknown> {
  const { url, path, message, agent, authorization, timeoutMs = 15_000, ca, cert, key } = options;
  const body = encodeMessage(message);
  let answer: { status: number; text: string };
  try {
    answer = await new Promise((resolve, reject) => {
      const req = request(
        new URL(path, url),
        {
          method: "POST",
          agent,
          ca,
          ...(cert === undefined ? {} : { cert, key }),
          headers: {
            "content-type": "application/json",
            "content-length": Buffer.byteLength(body),
            ...(authorization === undefined ? {} : { authorization }),
          },
          signal: AbortSignal.timeout(timeoutMs),
        },
        (res) => {
          let text = "";
          res.setEncoding("utf8");
          res.on("data", (chunk: string) => {
            text += chunk;
            if (text.length > maxMessageBytes * 2) req.destroy(new Error("the answer is too large"));
          });
          res.on("end", () => resolve({ status: res.statusCode ?? 0, text }));
          res.on("error", reject);
        },
      );
      req.on("error", reject);
      req.end(body);
    });
  } catch (cause) {
    throw new KeelsonError(
      "registration/unreachable",
      `registration at ${url} does not answer: ${errorMessage(cause)}`,
      {
        hint: "check that it runs and that its address and CA are right",
        status: 503,
        cause,
      },
    );
  }
  if (answer.status === 200) return decodeMessage(answer.text);
  throw new KeelsonError("registration/refused", `registration answered ${answer.status}: ${readError(answer.text)}`, {
    status: answer.status === 401 || answer.status === 403 ? answer.status : 502,
  });
}

function readError(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error : "no reason given";
  } catch {
    return "no reason given";
  }
}

import { request as httpsRequest } from "node:https";
import { createSecureContext, type SecureContext } from "node:tls";

/** An answer of the supervisor, with its header fields as they came. */
export interface ReplayAnswer {
  status: number;
  rawHeaders: readonly string[];
  headers: Readonly<Record<string, string | string[] | undefined>>;
  body: string;
}

export interface ReplayRequest {
  method?: string;
  path: string;
  /** In wire order and spelling. */
  headers?: readonly (readonly [string, string])[];
  body?: Uint8Array;
  /** Which server certificates pass: the host's trust store, any, or this PEM bundle. */
  trust: "system" | "any" | { ca: string };
  /** Always the same object for an agent, and always with the same trust: its TLS context is made once. */
  client?: ClientCertificate | undefined;
}

export interface ClientCertificate {
  cert: string;
  key: string;
}

/** K3s's agents give every supervisor call ten seconds. */
const timeoutMs = 10_000;

/**
 * Sends one request as a Go agent does: a connection of its own, `Connection: close`, header fields in Go's spelling.
 * Rejects with Node's error when the connection or the server's certificate fails.
 */
export function replayRequest(server: string, request: ReplayRequest): Promise<ReplayAnswer> {
  const { hostname, port, host } = new URL(server);
  const { method = "GET", path, headers = [], body, trust, client } = request;
  const length: [string, string][] = body === undefined ? [] : [["Content-Length", String(body.byteLength)]];
  const fields: (readonly [string, string])[] = [
    ["Host", host],
    ["User-Agent", "Go-http-client/1.1"],
    ...length,
    ...headers,
    ["Accept-Encoding", "gzip"],
    ["Connection", "close"],
  ];
  return new Promise((resolve, reject) => {
    const req = httpsRequest(
      {
        host: hostname.replace(/^\[|\]$/g, ""),
        port: port === "" ? 443 : Number(port),
        method,
        path,
        headers: fields.flat(),
        setHost: false,
        agent: false,
        timeout: timeoutMs,
        rejectUnauthorized: trust !== "any",
        ...{ secureContext: contextFor(trust, client) },
      },
      (res) => {
        const chunks: Buffer[] = [];
        res.on("data", (chunk: Buffer) => chunks.push(chunk));
        res.once("error", reject);
        res.once("end", () => {
          const { statusCode = 0, rawHeaders, headers: fieldsByName } = res;
          resolve({ status: statusCode, rawHeaders, headers: fieldsByName, body: Buffer.concat(chunks).toString() });
        });
      },
    );
    req.once("timeout", () => req.destroy(new Error(`${method} ${path}: no answer within ${timeoutMs} ms`)));
    req.once("error", reject);
    req.end(body);
  });
}

const contexts = new Map<string, SecureContext>();
const clientContexts = new WeakMap<ClientCertificate, SecureContext>();

/** A thousand agents with the same trust share what OpenSSL has parsed; those with a client key parse it once each. */
function contextFor(trust: ReplayRequest["trust"], client: ReplayRequest["client"]): SecureContext {
  const ca = typeof trust === "object" ? { ca: trust.ca } : {};
  const key = typeof trust === "object" ? trust.ca : trust;
  let context = client === undefined ? contexts.get(key) : clientContexts.get(client);
  if (context !== undefined) return context;
  context = createSecureContext({ ...ca, ...client });
  if (client === undefined) contexts.set(key, context);
  else clientContexts.set(client, context);
  return context;
}

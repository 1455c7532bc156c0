import { randomInt, X509Certificate } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import {
  type AgentCertificateKind,
  type Answer,
  accepted,
  type CaBundles,
  type Identity,
  type RegistrationClient,
  type RouteName,
  readNodeClaims,
  type SupervisorRoute,
} from "@keelson/protocol/supervisor";
import { type Clock, errorMessage, type Logger } from "@keelson/service";
import { readBody } from "../http/body.ts";
import { sendContent, textContent } from "../http/content.ts";
import { send, sendStatus } from "../http/status.ts";
import { serveStatic } from "./static-files.ts";

/** One request to a supervisor route, after the role check. */
export interface SupervisorCall {
  req: IncomingMessage;
  res: ServerResponse;
  route: SupervisorRoute;
  path: string;
  query: URLSearchParams;
  /** Undefined on public routes. */
  caller: Identity | undefined;
}

export interface HandlerContext {
  registration: RegistrationClient;
  /** The CAs in use; served from memory, also while registration is away. */
  caBundles(): CaBundles;
  staticDirectory: string | undefined;
  /** The document of `/db/info`; undefined where this server runs no etcd member. */
  dbInfo: (() => Promise<string>) | undefined;
  /** Carries out a snapshot request of `/db/snapshot`; undefined where this server runs no etcd member. */
  dbSnapshot: ((requestJson: string) => Promise<Answer<string>>) | undefined;
  /** Has the certificate of the public port signed anew. */
  renewListener(): Promise<void>;
  /** Tells the gateway to take up new CAs at once. */
  casReplaced(): Promise<void>;
  log: Logger;
  clock: Clock;
}

type Handler = (call: SupervisorCall, context: HandlerContext) => Promise<void>;

const plainText = "text/plain";
/** The public port's certificate among the names of `/v1-k3s/cert/<name>`. */
const listenerName = "dynamic-listener";
const bodyTimeoutMs = 10_000;
/** A PKCS#10 request is a few hundred bytes. */
const maxCsrBytes = 64 * 1024;
/** Bootstrap JSON with long CA chains. */
const maxBodyBytes = 3 * 1024 * 1024;

/** What each supervisor route does. The tunnel and CONNECT take the whole connection and are not here. */
export const handlers: Readonly<Record<Exclude<RouteName, "tunnel" | "connect-egress">, Handler>> = {
  async cacerts({ res }, { caBundles }) {
    send(res, 200, plainText, caBundles().serverCaPem);
  },
  async ping({ res }) {
    send(res, 200, plainText, "pong");
  },
  async static({ req, res, path }, { staticDirectory }) {
    await serveStatic(staticDirectory, req, res, path);
  },
  async config({ res }, { registration }) {
    send(res, 200, "application/json", `${JSON.stringify(await registration.clusterConfig())}\n`);
  },
  async "client-ca"(call, { caBundles }) {
    sendCa(call, caBundles().clientCaPem);
  },
  async "server-ca"(call, { caBundles }) {
    sendCa(call, caBundles().serverCaPem);
  },
  "serving-kubelet": (call, context) => issue("serving-kubelet", call, context),
  "client-kubelet": (call, context) => issue("client-kubelet", call, context),
  "client-kube-proxy": (call, context) => issue("client-kube-proxy", call, context),
  "client-k3s-controller": (call, context) => issue("client-k3s-controller", call, context),
  async apiservers({ res }, { registration }) {
    send(res, 200, "application/json", `${JSON.stringify(await registration.apiServers())}\n`);
  },
  async readyz(call, context) {
    answer(call, context, await context.registration.readiness(), (text) => send(call.res, 200, plainText, text));
  },
  async "db-info"({ res }, { dbInfo }) {
    if (dbInfo === undefined) return sendStatus(res, 400, "etcd disabled");
    send(res, 200, "application/json", await dbInfo());
  },
  async "db-snapshot"(call, context) {
    const { dbSnapshot, clock } = context;
    if (dbSnapshot === undefined) return sendStatus(call.res, 400, "etcd disabled");
    const body = await readBody(call.req, maxCsrBytes, bodyTimeoutMs, clock);
    answer(call, context, await dbSnapshot(body.toString("utf8")), (json) =>
      send(call.res, 200, "application/json", json),
    );
  },
  async "server-bootstrap"(call, context) {
    const json = await context.registration.serverBootstrap();
    answer(call, context, json, (text) => send(call.res, 200, "application/json", text));
  },
  async token(call, context) {
    const body = await readBody(call.req, maxCsrBytes, bodyTimeoutMs, context.clock);
    const newToken = parseNewToken(body.toString("utf8"));
    if (newToken === undefined) return sendStatus(call.res, 400, 'the body must be JSON such as {"newToken":"…"}');
    answer(call, context, await context.registration.rotateToken(newToken), () => call.res.writeHead(200).end());
  },
  async "cert-cacerts"(call, context) {
    const body = await readBody(call.req, maxBodyBytes, bodyTimeoutMs, context.clock);
    const force = call.query.get("force") === "true";
    const outcome = await context.registration.replaceCas(body.toString("utf8"), force);
    if (outcome.ok) await context.casReplaced();
    answer(call, context, outcome, () => call.res.writeHead(204).end());
  },
  async "cert-status"({ res }, { registration }) {
    send(res, 200, "application/json", `${JSON.stringify(await registration.leafStatus())}\n`);
  },
  async "cert-renewal"(call, context) {
    const name = call.path.slice(call.route.path.length - 1);
    if (name === listenerName) await context.renewListener();
    const outcome = name === listenerName ? accepted(undefined) : await context.registration.renewLeaf(name);
    answer(call, context, outcome, () => call.res.writeHead(204).end());
  },
  // Stock's document for a server without an encryption configuration: `enable` is left out, not false.
  async "encrypt-status"({ res }) {
    send(res, 200, "application/json", `${JSON.stringify({ stage: "", activekey: "", inactivekeys: null })}\n`);
  },
  async "encrypt-config"({ res }) {
    sendStatus(res, 400, "secrets encryption is not enabled on this server");
  },
};

async function issue(kind: AgentCertificateKind, call: SupervisorCall, context: HandlerContext): Promise<void> {
  const { req, res, caller } = call;
  if (caller === undefined) return sendStatus(res, 401, "not authorized");
  const body = req.method === "POST" ? await readBody(req, maxCsrBytes, bodyTimeoutMs, context.clock) : undefined;
  const csr = body === undefined || body.length === 0 ? {} : { csrDer: body };
  const node = readNodeClaims(req.headers);
  const pem = await context.registration.issueCertificate({ kind, caller, node, ...csr });
  // As recorded: stock writes what it made for this node without naming a type, and serves the others as files.
  const contentType = kind.endsWith("-kubelet") ? `${plainText}; charset=utf-8` : plainText;
  answer(call, context, pem, (text) => send(res, 200, contentType, text));
}

/** Sends the value, or the refusal in the protocol's shape. */
function answer<T>(
  { res, route }: SupervisorCall,
  { log }: HandlerContext,
  result: Answer<T>,
  sendValue: (value: T) => void,
): void {
  if (result.ok) return void sendValue(result.value);
  const { status, message, retryAfterSeconds, code, hint } = result.refusal;
  const headers = retryAfterSeconds === undefined ? undefined : { "Retry-After": String(retryAfterSeconds) };
  if (status >= 500 && status !== 503 && route.sensitive !== undefined) {
    return void sendStatus(res, status, errorId(route.sensitive, log, { code, message, hint }), headers);
  }
  log.info({ route: route.name, status, code, hint }, message);
  sendStatus(res, status, message, headers);
}

/** The answer to a failure whose details are nobody else's business: a number under which the log has them. */
export function errorId(component: string, log: Logger, details: object): string {
  const id = String(randomInt(100_000)).padStart(5, "0");
  log.error({ ...details, errorId: id }, `${component} request failed`);
  return `${component} error ID ${id}`;
}

/** A failure of ours while serving a route. */
export function sendFailure({ res, route }: SupervisorCall, { log }: HandlerContext, error: unknown): void {
  const status = (error as { status?: number }).status;
  if (status !== undefined && status < 500) {
    return void sendStatus(res, status, errorMessage(error), status === 429 ? { "Retry-After": "1" } : {});
  }
  if (route.sensitive !== undefined) return void sendStatus(res, 500, errorId(route.sensitive, log, { err: error }));
  log.error({ err: error, route: route.name }, "supervisor request failed");
  if (status === 503) return void sendStatus(res, 503, errorMessage(error), { "Retry-After": "1" });
  sendStatus(res, 500, errorId(route.name, log, { err: error }));
}

/** CA files are as old as their first certificate, so that every replica names the same date. */
function sendCa({ req, res }: SupervisorCall, pem: string): void {
  sendContent(req, res, textContent(pem, Date.parse(new X509Certificate(pem).validFrom)));
}

function parseNewToken(text: string): string | undefined {
  try {
    const body = JSON.parse(text) as { newToken?: unknown } | null;
    const token = body?.newToken ?? "";
    return typeof body === "object" && body !== null && typeof token === "string" ? token : undefined;
  } catch {
    return undefined;
  }
}

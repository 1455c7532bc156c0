import { errorMessage, type Registry } from "@keelson/service";
import { emulatedEtcdVersion } from "../services/maintenance.ts";
import type { HttpExchange } from "./http-exchange.ts";
import type { JsonGateway } from "./json-gateway.ts";

/** What the plain HTTP endpoints ask about; a sentence says what is wrong, undefined that nothing is. */
export interface HealthChecks {
  /** Alarms that are raised, by name. */
  alarms(): string[];
  /** A linearizable read. */
  read(): Promise<string | undefined>;
  /** The last commit. */
  write(): string | undefined;
}

/** Everything that is served on the client port besides gRPC. Source: etcd's etcdhttp package. */
export function httpEndpoints(gateway: JsonGateway, registry: Registry, checks: HealthChecks) {
  const serve = (exchange: HttpExchange): void => {
    const url = requestUrl(exchange.target);
    if (url === null) {
      sendText(exchange, 400, "400 Bad Request\n");
      return;
    }
    if (gateway.handle(exchange, url.pathname)) return;
    const endpoint = endpointOf(url, registry, checks);
    if (endpoint === undefined) sendText(exchange, 404, "404 page not found\n");
    else if (exchange.method !== "GET" && exchange.method !== "HEAD") sendText(exchange, 405, "Method Not Allowed\n");
    else {
      endpoint().then(
        ({ status, type, body }) => send(exchange, status, type, body),
        (error) => sendText(exchange, 500, `${String(error)}\n`),
      );
    }
  };
  // An error that left this listener would end the process.
  return (exchange: HttpExchange): void => {
    try {
      serve(exchange);
    } catch (error) {
      if (exchange.headSent) exchange.destroy();
      else sendText(exchange, 500, `${errorMessage(error)}\n`);
    }
  };
}

/** The URL of a request line's target, which is a path or a whole URL; null when it is neither. */
function requestUrl(target: string): URL | null {
  // A path may begin with two slashes, which would be a host if it were resolved like a link.
  return URL.parse(target.startsWith("/") ? `http://localhost${target}` : target);
}

interface Answer {
  status: number;
  type: string;
  body: string;
}

function endpointOf(url: URL, registry: Registry, checks: HealthChecks): (() => Promise<Answer>) | undefined {
  const [, root, check, rest] = url.pathname.split("/");
  if (rest !== undefined) return undefined;
  switch (root) {
    case "health":
      return check === undefined ? () => health(url, checks) : undefined;
    case "livez":
    case "readyz":
      return () => verboseHealth(root, check, url, checks);
    case "version":
      return check === undefined ? async () => json(200, versions) : undefined;
    case "metrics":
      if (check !== undefined) return undefined;
      return async () => ({ status: 200, type: registry.contentType, body: await registry.metrics() });
    default:
      return undefined;
  }
}

const versions = { etcdserver: emulatedEtcdVersion, etcdcluster: "3.6.0", storage: "3.6.0" };

async function health(url: URL, checks: HealthChecks): Promise<Answer> {
  const excluded = new Set(url.searchParams.getAll("exclude"));
  const alarm = checks.alarms().find((name) => !excluded.has(name));
  const reason =
    alarm !== undefined ? `ALARM ${alarm}` : await problem(checks, url.searchParams.get("serializable") === "true");
  return json(reason === undefined ? 200 : 503, { health: String(reason === undefined), reason: reason ?? "" });
}

/** `/livez` and `/readyz`, all checks or one, in etcd 3.6's format. */
async function verboseHealth(
  root: "livez" | "readyz",
  only: string | undefined,
  url: URL,
  checks: HealthChecks,
): Promise<Answer> {
  const all: Record<string, () => Promise<string | undefined>> = {
    serializable_read: () => problem(checks, true),
    ...(root === "readyz"
      ? {
          data_corruption: async () => (checks.alarms().includes("CORRUPT") ? "alarm activated: CORRUPT" : undefined),
          linearizable_read: () => problem(checks, false),
        }
      : {}),
  };
  if (only !== undefined && only !== "" && all[only] === undefined) {
    return { status: 404, type: "text/plain; charset=utf-8", body: "404 page not found\n" };
  }
  const excluded = new Set(url.searchParams.getAll("exclude"));
  const lines: string[] = [];
  let failed = false;
  for (const [name, check] of Object.entries(all)) {
    if (only ? name !== only : excluded.has(name)) continue;
    const reason = await check();
    failed ||= reason !== undefined;
    lines.push(reason === undefined ? `[+]${name} ok` : `[-]${name} failed: ${reason}`);
  }
  const body =
    failed || url.searchParams.has("verbose")
      ? `${lines.join("\n")}\n${failed ? `${root} check failed` : "ok"}\n`
      : "ok\n";
  return { status: failed ? 503 : 200, type: "text/plain; charset=utf-8", body };
}

async function problem(checks: HealthChecks, serializable: boolean): Promise<string | undefined> {
  if (serializable) return undefined;
  const failure = checks.write() ?? (await checks.read());
  return failure === undefined ? undefined : `RANGE ERROR:${failure}`;
}

function json(status: number, body: unknown): Answer {
  return { status, type: "application/json", body: JSON.stringify(body) };
}

function sendText(exchange: HttpExchange, status: number, body: string): void {
  send(exchange, status, "text/plain; charset=utf-8", body);
}

function send(exchange: HttpExchange, status: number, type: string, body: string): void {
  if (exchange.ended) return;
  exchange.sendHead(status, { "content-type": type });
  exchange.end(body);
}

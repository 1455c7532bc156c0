import type { IncomingMessage, ServerResponse } from "node:http";
import { isIP } from "node:net";
import type { TLSSocket } from "node:tls";
import {
  type Authentication,
  checkRole,
  findRoute,
  nodeNameOf,
  type SupervisorRoute,
} from "@keelson/protocol/supervisor";
import { errorCode, errorMessage, type Logger } from "@keelson/service";
import type { GatewayMetrics } from "./gateway-metrics.ts";
import { parseTarget } from "./http/path.ts";
import { rawStatus, sendStatus } from "./http/status.ts";
import type { Authenticator, KubeCaller } from "./identity/authenticator.ts";
import type { InFlight } from "./limits/in-flight.ts";
import { type HandlerContext, handlers, type SupervisorCall, sendFailure } from "./routes/handlers.ts";
import { websocketProblem } from "./routes/websocket-handshake.ts";
import type { TunnelHub } from "./tunnel/index.ts";
import type { Speaker } from "./upstream/headers.ts";
import type { KubeApiProxy } from "./upstream/kube-api-proxy.ts";

export interface RouterParts {
  authenticator: Authenticator;
  /** Agent-class requests at work: GET, HEAD and OPTIONS apart from the rest. */
  readers: InFlight;
  writers: InFlight;
  handlers: HandlerContext;
  kubeApi: KubeApiProxy;
  metrics: GatewayMetrics;
  /** The upstream takes whoever sends no user name for an administrator, so nobody may reach it without one. */
  kubeApiTrustsUs: boolean;
  tunnel: TunnelHub;
  /** A Host header that is an address we were reached under. */
  learnAddress(address: string): void;
  log: Logger;
}

const tooManyText = "Too many requests, please try again later.\n";

/**
 * Where a request goes. Supervisor routes are a table, matched by exact path; each has a role class that is checked
 * here, before anything of the request but its header is read. Whatever is not in the table is the Kubernetes API's.
 */
export class Router {
  readonly #parts: RouterParts;

  constructor(parts: RouterParts) {
    this.#parts = parts;
  }

  /** Serves one request. Never throws, never rejects. */
  request(req: IncomingMessage, res: ServerResponse, peer: TLSSocket): void {
    this.#learnHost(req);
    const target = parseTarget(req.url ?? "");
    if (target.kind === "malformed") return void sendStatus(res, 400, "malformed request target");
    if (target.kind === "redirect") {
      res.writeHead(301, { Location: target.location, "Content-Length": "0" }).end();
      return;
    }
    const route = findRoute(req.method ?? "", target.path);
    this.#parts.metrics.count(route?.name ?? "kubernetes", res);
    if (route === undefined) return void this.#toKubeApi(req, res, peer);
    const query = new URLSearchParams(target.query);
    const call = { req, res, route, path: target.path, query, caller: undefined };
    this.#serve(call, peer).catch((error: unknown) => sendFailure(call, this.#parts.handlers, error));
  }

  /** Whether an Upgrade header on this request is for somebody: the tunnel, or the Kubernetes API. */
  acceptsUpgrade(req: IncomingMessage): boolean {
    const target = parseTarget(req.url ?? "");
    if (target.kind !== "path") return false;
    const route = findRoute(req.method ?? "", target.path);
    return route === undefined || (route.name === "tunnel" && websocketProblem(req) === undefined);
  }

  upgrade(req: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    this.#learnHost(req);
    const target = parseTarget(req.url ?? "");
    const route = target.kind === "path" ? findRoute(req.method ?? "", target.path) : undefined;
    if (route === undefined) return void this.#upgradeToKubeApi(req, socket, head);
    this.#authorize(route, req, socket).then(
      (answer) => {
        if (typeof answer !== "object") return refuse(socket, answer);
        const nodeName = answer.outcome === "authenticated" ? nodeNameOf(answer.identity) : undefined;
        if (nodeName === undefined) return refuse(socket, 401);
        this.#parts.tunnel.accept(req, socket, head, nodeName);
      },
      (error: unknown) => this.#failed(socket, error),
    );
  }

  /** CONNECT host:port: the Kubernetes API's way to a node. */
  connect(req: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    const route = findRoute("CONNECT", "");
    if (route === undefined) return void refuse(socket, 403);
    this.#authorize(route, req, socket).then(
      (answer) => {
        if (typeof answer !== "object") return refuse(socket, answer);
        this.#parts.tunnel.connect(req, socket, head);
      },
      (error: unknown) => this.#failed(socket, error),
    );
  }

  async #serve(call: SupervisorCall, peer: TLSSocket): Promise<void> {
    const { req, res, route } = call;
    const answer = route.role === "public" ? undefined : await this.#authorize(route, req, peer);
    if (typeof answer === "number") return sendStatus(res, answer, refusalText(answer));
    if (answer?.outcome === "authenticated") call.caller = answer.identity;
    if (route.methods !== undefined && !route.methods.includes(req.method ?? "")) {
      return sendStatus(res, 405, "method not allowed", { Allow: route.methods.join(", ") });
    }
    if (route.name === "tunnel") {
      return sendStatus(res, 400, websocketProblem(req) ?? "websocket: an HTTP/1.1 upgrade is needed");
    }
    if (route.name === "connect-egress") return sendStatus(res, 405, "CONNECT needs HTTP/1.1");
    if (route.role !== "agent") return handlers[route.name](call, this.#parts.handlers);

    const reading = req.method === "GET" || req.method === "HEAD" || req.method === "OPTIONS";
    const release = await (reading ? this.#parts.readers : this.#parts.writers).enter();
    if (release === undefined) return tooMany(res);
    try {
      await handlers[route.name](call, this.#parts.handlers);
    } finally {
      release();
    }
  }

  /** Who calls, or the status with which to turn the call down. */
  async #authorize(route: SupervisorRoute, req: IncomingMessage, peer: TLSSocket): Promise<Authentication | 401 | 403> {
    const authentication = await this.#parts.authenticator.supervisorCaller(req, peer);
    return checkRole(route.role, authentication) ?? authentication;
  }

  #toKubeApi(req: IncomingMessage, res: ServerResponse, peer: TLSSocket): void {
    const speaker = this.#speaker(this.#parts.authenticator.kubeCaller(req, peer));
    if (speaker === undefined) return void sendStatus(res, 401, "Unauthorized");
    try {
      this.#parts.kubeApi.forward(req, res, speaker);
    } catch (error) {
      this.#parts.log.warn({ err: error }, "request could not be forwarded");
      sendStatus(res, 400, "malformed request");
    }
  }

  #upgradeToKubeApi(req: IncomingMessage, socket: TLSSocket, head: Buffer): void {
    const speaker = this.#speaker(this.#parts.authenticator.kubeCaller(req, socket));
    if (speaker === undefined) return void socket.end(rawStatus(401, "Unauthorized"));
    try {
      this.#parts.kubeApi.upgrade(req, socket, head, speaker);
    } catch (error) {
      this.#failed(socket, error);
    }
  }

  /** In whose name to forward; undefined is stock's 401, given here so that the upstream need not be bothered. */
  #speaker(caller: KubeCaller): Speaker | undefined {
    const { kubeApiTrustsUs } = this.#parts;
    switch (caller.outcome) {
      case "user":
        return { as: "user", user: caller.user };
      case "bearer":
        return kubeApiTrustsUs ? { as: "bearer", token: caller.token } : { as: "sent" };
      case "anonymous":
        return kubeApiTrustsUs ? undefined : { as: "sent" };
      case "refused":
        return undefined;
    }
  }

  #learnHost(req: IncomingMessage): void {
    const authority = req.headers.host ?? req.headers[":authority"];
    if (typeof authority !== "string") return;
    const host = authority.startsWith("[")
      ? authority.slice(1, authority.indexOf("]"))
      : authority.replace(/:\d+$/, "");
    // Browsers name whatever address they were lured to; stock learns nothing from them.
    if (isIP(host) !== 0 && !/mozilla/i.test(req.headers["user-agent"] ?? "")) this.#parts.learnAddress(host);
  }

  #failed(socket: TLSSocket, error: unknown): void {
    if (errorCode(error) === "gateway/busy") return void socket.end(rawStatus(429, errorMessage(error)));
    this.#parts.log.error({ err: error }, "connection could not be handed over");
    socket.end(rawStatus(500, "internal error"));
  }
}

function refusalText(code: 401 | 403): string {
  return code === 401 ? "not authorized" : "forbidden";
}

function refuse(socket: TLSSocket, code: 401 | 403): void {
  socket.end(rawStatus(code, refusalText(code)));
}

function tooMany(res: ServerResponse): void {
  res.writeHead(429, {
    "Content-Type": "text/plain; charset=utf-8",
    "Content-Length": String(tooManyText.length),
    "Retry-After": "1",
  });
  res.end(tooManyText);
}

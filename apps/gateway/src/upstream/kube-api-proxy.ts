import { type ClientRequest, type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type Clock, errorCode, errorMessage, type Logger } from "@keelson/service";
import { rawStatus, sendStatus } from "../http/status.ts";
import { downstreamHeaders, mayHaveBody, type Speaker, upstreamHeaders } from "./headers.ts";
import { relay } from "./relay.ts";
import { RequestBody, tooLargeText } from "./request-body.ts";
import { connectTimeoutMs, type Upstream, type Upstreams } from "./upstreams.ts";

export interface KubeApiProxyOptions {
  /** Largest request body; kube-apiserver's own limit is 3 MiB. Bodies to `proxy` subresources are streams without limit. */
  maxBodyBytes: number;
  /** A body of which nothing arrives for this long is given up. */
  bodyIdleTimeoutMs: number;
}

const awayText = "the Kubernetes API is not available";
/** `proxy` subresource of a Pod, Service or Node: the body belongs to somebody else's protocol. */
const streamingBody = /\/proxy(\/|$)/;
const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);
const watching = /(^|&)(watch|follow)=(true|1|$|&)/;

/**
 * Forwards requests to the Kubernetes API: an authenticating proxy in kube-apiserver's sense. Bodies are streamed in
 * both directions with back-pressure, an answer is passed on at its first byte, nothing idle is ever timed out, and an
 * abort on one side becomes an abort on the other.
 */
export class KubeApiProxy {
  readonly #upstreams: Upstreams;
  readonly #options: KubeApiProxyOptions;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #watches = new Set<{ answer: IncomingMessage; res: ServerResponse }>();

  constructor(upstreams: Upstreams, options: KubeApiProxyOptions, deps: { log: Logger; clock: Clock }) {
    this.#upstreams = upstreams;
    this.#options = options;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  /** Forwards one request in the name of `speaker`. */
  forward(req: IncomingMessage, res: ServerResponse, speaker: Speaker): void {
    const headers = upstreamHeaders(req, speaker);
    const body = mayHaveBody(req) ? this.#bodyOf(req) : undefined;
    if (body?.tooLarge) return void sendStatus(res, 413, tooLargeText(this.#options.maxBodyBytes));
    const candidates = this.#upstreams.candidates();
    let current: ClientRequest | undefined;
    let over = false;
    res.once("close", () => {
      over = true;
      body?.stop();
      // The client is gone, or has its whole answer before the upstream has the whole body.
      if (!res.writableFinished || !current?.writableFinished) current?.destroy();
    });

    const attempt = (index: number, fresh: boolean): void => {
      const upstream = candidates[index];
      if (over) return;
      if (upstream === undefined) return void sendStatus(res, 503, awayText, { "Retry-After": "1" });
      const outgoing = upstream.request({ method: req.method!, path: originForm(req), headers });
      current = outgoing;
      let connected = false;
      let answered = false;
      onConnected(outgoing, upstream, (reused) => {
        connected = true;
        if (!reused) this.#upstreams.connected(upstream);
        body?.send(outgoing, (code, message) => {
          sendStatus(res, code, message);
          outgoing.destroy();
        });
      });
      outgoing.on("response", (answer) => {
        answered = true;
        try {
          this.#answer(req, res, answer);
        } catch (error) {
          // A status line or header that cannot be passed on must not end this process.
          this.#log.warn({ err: error, upstream: upstream.name }, "answer of the Kubernetes API cannot be passed on");
          outgoing.destroy();
          res.statusMessage = "";
          sendStatus(res, 502, "malformed answer of the Kubernetes API");
        }
      });
      outgoing.on("error", (error) => {
        if (over || answered) return res.destroy();
        // A kept connection that the upstream had just closed says nothing about the upstream; what only reads may be
        // asked again, anything else may already have been done.
        const repeatable = body === undefined && safeMethods.has(req.method ?? "");
        if (connected && outgoing.reusedSocket && repeatable && !fresh) return attempt(index, true);
        if (!connected && !outgoing.reusedSocket) {
          this.#failed(upstream, error);
          return attempt(index + 1, fresh);
        }
        this.#log.warn({ err: error, upstream: upstream.name }, "Kubernetes API dropped a request");
        sendStatus(res, errorCode(error)?.startsWith("HPE_") ? 502 : 503, awayText, { "Retry-After": "1" });
      });
      if (body === undefined) outgoing.end();
    };
    attempt(0, false);
  }

  /** Forwards an Upgrade request and joins both connections when the upstream agrees. */
  upgrade(req: IncomingMessage, socket: Duplex, head: Buffer, speaker: Speaker): void {
    const headers = upstreamHeaders(req, speaker, { upgrade: true });
    const candidates = this.#upstreams.candidates();
    let current: ClientRequest | undefined;
    let joined = false;
    socket.once("close", () => {
      if (!joined) current?.destroy();
    });
    const attempt = (index: number): void => {
      const upstream = candidates[index];
      if (socket.destroyed) return;
      if (upstream === undefined) return void socket.end(rawStatus(503, awayText));
      const outgoing = upstream.upgrade({ method: req.method!, path: originForm(req), headers });
      current = outgoing;
      let connected = false;
      onConnected(outgoing, upstream, () => {
        connected = true;
        this.#upstreams.connected(upstream);
      });
      outgoing.on("upgrade", (answer, upstreamSocket, upstreamHead) => {
        joined = true;
        socket.write(rawHead(answer, answer.rawHeaders), "latin1");
        if (upstreamHead.length > 0) socket.write(upstreamHead);
        if (head.length > 0) upstreamSocket.write(head);
        relay(socket, upstreamSocket);
      });
      outgoing.on("response", (answer) => {
        joined = true;
        socket.write(rawHead(answer, [...downstreamHeaders(answer), "Connection", "close"]), "latin1");
        answer.once("error", () => socket.destroy());
        answer.pipe(socket);
      });
      outgoing.on("error", (error) => {
        if (joined) return void socket.destroy();
        if (connected)
          return void socket.end(rawStatus(502, `the Kubernetes API dropped the upgrade: ${error.message}`));
        this.#failed(upstream, error);
        attempt(index + 1);
      });
      outgoing.end();
    };
    attempt(0);
  }

  /** Ends every watch and followed log as a server that shuts down does: clients reconnect to another server. */
  endWatches(): void {
    for (const { answer, res } of this.#watches) {
      res.end();
      answer.destroy();
    }
  }

  #answer(req: IncomingMessage, res: ServerResponse, answer: IncomingMessage): void {
    const status = answer.statusCode ?? 502;
    const headers = downstreamHeaders(answer);
    const modern = req.httpVersionMajor === 2;
    if (!modern && !req.complete) headers.push("Connection", "close");
    // The reason phrase is the standard one, whatever the upstream says: no client reads it, and it may be malformed.
    if (modern) res.writeHead(status, grouped(headers));
    else res.writeHead(status, headers);
    if (answer.headers["content-length"] === undefined) res.flushHeaders();
    const watch = watching.test(queryOf(req)) ? { answer, res } : undefined;
    if (watch !== undefined) this.#watches.add(watch);
    answer.once("close", () => {
      if (watch !== undefined) this.#watches.delete(watch);
      if (!answer.complete && !res.writableEnded) res.destroy();
    });
    answer.once("error", () => res.destroy());
    answer.once("end", () => {
      if (Object.keys(answer.trailers).length > 0) res.addTrailers(answer.trailers as Record<string, string>);
      res.end();
    });
    answer.pipe(res, { end: false });
  }

  #bodyOf(req: IncomingMessage): RequestBody {
    const limit = streamingBody.test(req.url ?? "") ? Number.POSITIVE_INFINITY : this.#options.maxBodyBytes;
    return new RequestBody(req, limit, this.#options.bodyIdleTimeoutMs, this.#clock);
  }

  #failed(upstream: Upstream, error: unknown): void {
    this.#upstreams.failed(upstream);
    this.#log.warn({ upstream: upstream.name, reason: errorMessage(error) }, "Kubernetes API not reachable");
  }
}

/** Calls back when the request has a usable connection; destroys the request when that takes too long. */
function onConnected(outgoing: ClientRequest, upstream: Upstream, connected: (reused: boolean) => void): void {
  outgoing.once("socket", (socket) => {
    if (!isPending(socket)) return void connected(true);
    const timer = setTimeout(() => outgoing.destroy(new Error("connecting took too long")), connectTimeoutMs);
    socket.once("close", () => clearTimeout(timer));
    socket.once(upstream.connectEvent, () => {
      clearTimeout(timer);
      connected(false);
    });
  });
}

/** TCP, or the TLS handshake on top of it, is still under way. */
function isPending(socket: Duplex & { connecting?: boolean; secureConnecting?: boolean }): boolean {
  return socket.connecting === true || socket.secureConnecting === true;
}

function originForm(req: IncomingMessage): string {
  const url = req.url ?? "/";
  if (url.startsWith("/")) return url;
  const { pathname, search } = new URL(url);
  return pathname + search;
}

function queryOf(req: IncomingMessage): string {
  const url = req.url ?? "";
  const mark = url.indexOf("?");
  return mark < 0 ? "" : url.slice(mark + 1);
}

/** Header object with repeated fields as lists, as HTTP/2 responses take them. */
function grouped(headers: readonly string[]): Record<string, string | string[]> {
  const result: Record<string, string | string[]> = {};
  for (let i = 0; i < headers.length; i += 2) {
    const key = headers[i]!.toLowerCase();
    const known = result[key];
    if (known === undefined) result[key] = headers[i + 1]!;
    else result[key] = Array.isArray(known) ? [...known, headers[i + 1]!] : [known, headers[i + 1]!];
  }
  return result;
}

function rawHead(answer: IncomingMessage, headers: readonly string[]): string {
  let text = `HTTP/1.1 ${answer.statusCode} ${STATUS_CODES[answer.statusCode ?? 0] ?? ""}\r\n`;
  for (let i = 0; i < headers.length; i += 2) text += `${headers[i]}: ${headers[i + 1]}\r\n`;
  return `${text}\r\n`;
}

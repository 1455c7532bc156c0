import { StringDecoder } from "node:string_decoder";
import {
  type AnyCodec,
  authService,
  fromJson,
  grpcStatus,
  type MethodDescriptor,
  RpcError,
  services,
  toJson,
} from "@keelson/protocol/etcd";
import { errorMessage } from "@keelson/service";
import { maxRequestBytes } from "../server/message-splitter.ts";
import { type CallInfo, grpcPrefixBytes, type Method, type StreamMethod, type UnaryMethod } from "../server/rpc.ts";
import { statusOf } from "../server/status.ts";
import type { HttpExchange } from "./http-exchange.ts";
import { JsonObjects } from "./json-objects.ts";

/** JSON carries bytes as base64, four characters for three. */
const maxBodyBytes = Math.ceil((maxRequestBytes * 4) / 3) + 64 * 1_024;

/** HTTP status of a gRPC status, as etcd's gateway maps them; what is not here is 500. */
const httpStatuses: Record<number, number> = {
  [grpcStatus.invalidArgument]: 400,
  [grpcStatus.outOfRange]: 400,
  [grpcStatus.failedPrecondition]: 400,
  [grpcStatus.notFound]: 404,
  [grpcStatus.permissionDenied]: 403,
  [grpcStatus.unauthenticated]: 401,
  [grpcStatus.resourceExhausted]: 429,
  [grpcStatus.unimplemented]: 501,
  [grpcStatus.unavailable]: 503,
  [grpcStatus.deadlineExceeded]: 504,
  [grpcStatus.canceled]: 499,
};

const corsHeaders = {
  "access-control-allow-headers": "accept, content-type, authorization",
  "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE",
  "access-control-allow-origin": "*",
};
const jsonHeaders = { ...corsHeaders, "content-type": "application/json" };

interface Route {
  descriptor: MethodDescriptor;
  method: Method;
}

/** etcd's JSON gateway: the gRPC methods as POST requests below /v3/. */
export class JsonGateway {
  readonly #routes = new Map<string, Route>();

  constructor(methods: Iterable<Method>) {
    const byPath = new Map([...methods].map((method) => [method.path, method]));
    const descriptors = [...Object.values(services).flatMap((service) => Object.values(service)), ...authService];
    for (const descriptor of descriptors as MethodDescriptor[]) {
      const method = byPath.get(descriptor.path);
      if (method === undefined) continue;
      for (const jsonPath of descriptor.jsonPaths) this.#routes.set(jsonPath, { descriptor, method });
    }
  }

  /** Answers the request if its path is the gateway's. */
  handle(exchange: HttpExchange, path: string): boolean {
    const route = this.#routes.get(path.replace(/^\/v3beta\//, "/v3/"));
    if (route === undefined) return false;
    if (exchange.method === "OPTIONS") {
      exchange.sendHead(200, corsHeaders);
      exchange.end();
    } else if (exchange.method !== "POST")
      sendError(exchange, new RpcError(grpcStatus.unimplemented, "Method Not Allowed"), 405);
    else if (route.method.kind === "unary") serveUnary(exchange, route.descriptor, route.method);
    else serveStream(exchange, route.descriptor, route.method);
    return true;
  }
}

function serveUnary(exchange: HttpExchange, descriptor: MethodDescriptor, method: UnaryMethod): void {
  const { info, abandon } = callInfo(exchange);
  const chunks: Buffer[] = [];
  let bytes = 0;
  const answer = async (): Promise<void> => {
    const body = Buffer.concat(chunks).toString("utf8");
    const message = encodeJson(descriptor.request, body.trim() === "" ? "{}" : body);
    const frame = await method.call(message, info);
    const response = descriptor.response.decode(frame.subarray(grpcPrefixBytes));
    sendJson(exchange, 200, toJson(descriptor.response as AnyCodec, response));
  };
  exchange.listen({
    onData(chunk) {
      if (exchange.ended) return;
      bytes += chunk.length;
      if (bytes <= maxBodyBytes) chunks.push(chunk);
      else {
        chunks.length = 0;
        sendError(exchange, new RpcError(grpcStatus.resourceExhausted, "http: request body too large"));
      }
    },
    onEnd() {
      if (!exchange.ended) answer().catch((error) => sendError(exchange, error));
    },
    onClosed(answered) {
      if (!answered) abandon();
    },
  });
}

/** One JSON object per line, each wrapped in `result`; the request may hold several objects and may go on. */
function serveStream(exchange: HttpExchange, descriptor: MethodDescriptor, method: StreamMethod): void {
  const { info, abandon } = callInfo(exchange);
  const end = (error?: unknown): void => {
    if (exchange.ended) return;
    if (error === undefined) exchange.end();
    else if (!exchange.headSent) sendError(exchange, error);
    else exchange.end(`${JSON.stringify({ error: errorBody(error) })}\n`);
  };
  const handler = method.open(
    {
      send(parts) {
        if (exchange.ended) return;
        if (!exchange.headSent) exchange.sendHead(200, jsonHeaders);
        const message = descriptor.response.decode(Buffer.concat(parts));
        exchange.write(`${JSON.stringify({ result: toJson(descriptor.response as AnyCodec, message) })}\n`);
      },
      end,
      get pendingBytes() {
        return exchange.pendingBytes;
      },
    },
    info,
  );
  const guard = (work: () => void): void => {
    if (exchange.ended) return;
    try {
      work();
    } catch (error) {
      end(error);
    }
  };
  const objects = new JsonObjects((text) => handler.onMessage(encodeJson(descriptor.request, text)));
  const decoder = new StringDecoder("utf8");
  exchange.listen({
    onData: (bytes) =>
      guard(() => {
        objects.push(decoder.write(bytes));
        if (objects.pendingLength > maxBodyBytes) throw new RpcError(grpcStatus.resourceExhausted, "request too large");
      }),
    onEnd: () =>
      guard(() => {
        if (objects.pendingLength > 0) throw new RpcError(grpcStatus.invalidArgument, "unexpected EOF");
        handler.onHalfClose();
      }),
    onDrain: () => handler.onDrain?.(),
    onClosed(answered) {
      if (!answered) abandon();
      handler.onClosed();
    },
  });
}

function callInfo({ authority, authorization }: HttpExchange): { info: CallInfo; abandon: () => void } {
  const listeners: (() => void)[] = [];
  return {
    info: {
      authority,
      metadata: authorization === undefined ? undefined : { token: authorization },
      onAbandoned: (listener) => listeners.push(listener),
    },
    abandon() {
      for (const listener of listeners) listener();
    },
  };
}

function encodeJson(codec: AnyCodec, text: string): Buffer {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new RpcError(grpcStatus.invalidArgument, errorMessage(error));
  }
  try {
    return codec.encode(fromJson(codec, json));
  } catch (error) {
    // The stack's end: transactions may hold transactions, without a bound of their own.
    if (error instanceof RangeError) throw new RpcError(grpcStatus.invalidArgument, "the request is nested too deeply");
    throw error;
  }
}

function sendJson(exchange: HttpExchange, status: number, body: unknown): void {
  if (exchange.headSent || exchange.ended) return;
  exchange.sendHead(status, jsonHeaders);
  exchange.end(JSON.stringify(body));
}

function sendError(exchange: HttpExchange, error: unknown, status?: number): void {
  const body = errorBody(error);
  sendJson(exchange, status ?? httpStatuses[body.code] ?? 500, body);
}

/** The fields of both generations of etcd's gateway. */
function errorBody(error: unknown): { error: string; message: string; code: number } {
  const { message, code } = statusOf(error);
  return { error: message, message, code };
}

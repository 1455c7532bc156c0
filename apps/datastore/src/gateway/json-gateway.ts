import type { IncomingMessage, ServerResponse } from "node:http";
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
  handle(request: IncomingMessage, response: ServerResponse, path: string): boolean {
    const route = this.#routes.get(path.replace(/^\/v3beta\//, "/v3/"));
    if (route === undefined) return false;
    for (const [name, value] of Object.entries(corsHeaders)) response.setHeader(name, value);
    if (request.method === "OPTIONS") response.writeHead(200).end();
    else if (request.method !== "POST")
      sendError(response, new RpcError(grpcStatus.unimplemented, "Method Not Allowed"), 405);
    else if (route.method.kind === "unary") serveUnary(request, response, route.descriptor, route.method);
    else serveStream(request, response, route.descriptor, route.method);
    return true;
  }
}

function serveUnary(
  request: IncomingMessage,
  response: ServerResponse,
  descriptor: MethodDescriptor,
  method: UnaryMethod,
): void {
  readBody(request)
    .then(async (body) => {
      const message = encodeJson(descriptor.request, body.trim() === "" ? "{}" : body);
      const frame = await method.call(message, callInfo(request, response));
      const answer = descriptor.response.decode(frame.subarray(grpcPrefixBytes));
      sendJson(response, 200, toJson(descriptor.response as AnyCodec, answer));
    })
    .catch((error) => sendError(response, error));
}

/** One JSON object per line, each wrapped in `result`; the request may hold several objects and may go on. */
function serveStream(
  request: IncomingMessage,
  response: ServerResponse,
  descriptor: MethodDescriptor,
  method: StreamMethod,
): void {
  const end = (error?: unknown): void => {
    if (response.writableEnded) return;
    if (error === undefined) response.end();
    else if (!response.headersSent) sendError(response, error);
    else response.end(`${JSON.stringify({ error: errorBody(error) })}\n`);
  };
  const handler = method.open(
    {
      send(parts) {
        if (!response.headersSent) response.writeHead(200, { "content-type": "application/json" });
        const message = descriptor.response.decode(Buffer.concat(parts));
        response.write(`${JSON.stringify({ result: toJson(descriptor.response as AnyCodec, message) })}\n`);
      },
      end,
      get pendingBytes() {
        return response.writableLength;
      },
    },
    callInfo(request, response),
  );
  const guard = (work: () => void): void => {
    if (response.writableEnded) return;
    try {
      work();
    } catch (error) {
      end(error);
    }
  };
  const objects = new JsonObjects((text) => handler.onMessage(encodeJson(descriptor.request, text)));
  request.setEncoding("utf8");
  request.on("data", (chunk: string) =>
    guard(() => {
      objects.push(chunk);
      if (objects.pendingLength > maxBodyBytes) throw new RpcError(grpcStatus.resourceExhausted, "request too large");
    }),
  );
  request.on("end", () =>
    guard(() => {
      if (objects.pendingLength > 0) throw new RpcError(grpcStatus.invalidArgument, "unexpected EOF");
      handler.onHalfClose();
    }),
  );
  response.on("drain", () => handler.onDrain?.());
  response.on("close", () => handler.onClosed());
}

function callInfo(request: IncomingMessage, response: ServerResponse): CallInfo {
  return {
    authority: request.headers.host ?? "",
    metadata: request.headers.authorization === undefined ? undefined : { token: request.headers.authorization },
    onAbandoned: (listener) => {
      response.on("close", () => {
        if (!response.writableFinished) listener();
      });
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
  return codec.encode(fromJson(codec, json));
}

function readBody(request: IncomingMessage): Promise<string> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= maxBodyBytes) chunks.push(chunk);
      else {
        reject(new RpcError(grpcStatus.resourceExhausted, "http: request body too large"));
        request.destroy();
      }
    });
    request.on("end", () => resolve(Buffer.concat(chunks).toString("utf8")));
    request.on("error", reject);
  });
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
}

function sendError(response: ServerResponse, error: unknown, status?: number): void {
  const body = errorBody(error);
  sendJson(response, status ?? httpStatuses[body.code] ?? 500, body);
}

/** The fields of both generations of etcd's gateway. */
function errorBody(error: unknown): { error: string; message: string; code: number } {
  const { message, code } = statusOf(error);
  return { error: message, message, code };
}

import { constants, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { errorMessage, type Logger } from "@keelson/service";
import { MessageSplitter } from "./message-splitter.ts";
import {
  type CallInfo,
  frameMessage,
  type Method,
  type StreamHandler,
  type StreamMethod,
  type UnaryMethod,
} from "./rpc.ts";

const responseHeaders = { ":status": 200, "content-type": "application/grpc" };
const okTrailers = { "grpc-status": "0" };

/** Serves gRPC calls on HTTP/2 streams. */
export class GrpcServer {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #log: Logger;

  constructor(methods: Iterable<Method>, log: Logger) {
    this.#methods = new Map([...methods].map((method) => [method.path, method]));
    this.#log = log;
  }

  readonly onStream = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders): void => {
    stream.on("error", () => stream.destroy());
    const method = this.#methods.get(headers[":path"] as string);
    const info: CallInfo = { authority: String(headers[":authority"] ?? "") };
    if (method === undefined) fail(stream, unknownMethod(String(headers[":path"])), this.#log);
    else if (method.kind === "unary") this.#unary(stream, method, info);
    else this.#stream(stream, method, info);
  };

  #unary(stream: ServerHttp2Stream, method: UnaryMethod, info: CallInfo): void {
    let request: Buffer | undefined;
    const splitter = new MessageSplitter((message) => {
      request = message;
    });
    stream.on("data", (chunk: Buffer) => {
      try {
        splitter.push(chunk);
      } catch (error) {
        fail(stream, error, this.#log);
      }
    });
    stream.on("end", () => {
      if (stream.headersSent) return;
      try {
        const reply = method.call(request ?? Buffer.alloc(0), info);
        if (reply instanceof Promise) {
          reply.then(
            (frame) => respond(stream, frame),
            (error) => fail(stream, error, this.#log),
          );
        } else respond(stream, reply);
      } catch (error) {
        fail(stream, error, this.#log);
      }
    });
  }

  #stream(stream: ServerHttp2Stream, method: StreamMethod, info: CallInfo): void {
    let handler: StreamHandler;
    let ended = false;
    const end = (error?: unknown): void => {
      if (ended || stream.destroyed) return;
      ended = true;
      if (error === undefined) stream.end();
      else fail(stream, error, this.#log);
    };
    stream.respond(responseHeaders, { waitForTrailers: true });
    let trailers: Record<string, string> = okTrailers;
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    handler = method.open(
      {
        send(parts) {
          if (stream.destroyed || ended) return;
          stream.write(frameMessage(parts.length === 1 ? parts[0]! : Buffer.concat(parts)));
        },
        end(error) {
          if (error !== undefined) trailers = trailersOf(error);
          end();
        },
        get pendingBytes() {
          return stream.writableLength;
        },
      },
      info,
    );
    const splitter = new MessageSplitter((message) => handler.onMessage(message));
    stream.on("data", (chunk: Buffer) => {
      try {
        splitter.push(chunk);
      } catch (error) {
        trailers = trailersOf(error);
        end();
      }
    });
    stream.on("end", () => handler.onHalfClose());
    stream.on("close", () => handler.onClosed());
    stream.on("drain", () => handler.onDrain?.());
  }
}

function respond(stream: ServerHttp2Stream, frame: Buffer): void {
  if (stream.destroyed) return;
  stream.respond(responseHeaders, { waitForTrailers: true });
  stream.on("wantTrailers", () => stream.sendTrailers(okTrailers));
  stream.end(frame);
}

function fail(stream: ServerHttp2Stream, error: unknown, log: Logger): void {
  if (stream.destroyed || stream.headersSent) return;
  if (!(error instanceof RpcError)) log.error({ err: error }, "a request failed unexpectedly");
  stream.respond({ ...responseHeaders, ...trailersOf(error) }, { endStream: true });
  if (!stream.readableEnded) stream.close(constants.NGHTTP2_NO_ERROR);
}

function trailersOf(error: unknown): Record<string, string> {
  const code = error instanceof RpcError ? error.code : grpcStatus.unknown;
  return { "grpc-status": String(code), "grpc-message": percentEncode(errorMessage(error)) };
}

/** gRPC's encoding of grpc-message: printable ASCII but `%` as it is. */
export function percentEncode(text: string): string {
  return text.replace(/[^ -$&-~]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

function unknownMethod(path: string): RpcError {
  const [, service = "", name = ""] = path.split("/");
  return new RpcError(grpcStatus.unimplemented, `unknown method ${name} for service ${service}`);
}

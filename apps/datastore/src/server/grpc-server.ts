import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import type { Logger } from "@keelson/service";
import { headerField, hpackString } from "../http2/header-block.ts";
import type { RequestHeaders } from "../http2/request-headers.ts";
import type { Http2Stream } from "../http2/stream.ts";
import { MessageSplitter } from "./message-splitter.ts";
import { responseMemory } from "./response-memory.ts";
import {
  type CallInfo,
  grpcPrefixBytes,
  type Method,
  type StreamHandler,
  type StreamMethod,
  type UnaryMethod,
} from "./rpc.ts";
import { statusOf, unimplemented } from "./status.ts";

/** `:status: 200`, `content-type: application/grpc`, as an HPACK block that refers to no dynamic table. */
const responseHeaders = Buffer.concat([Buffer.from([0x88, 0x0f, 0x10]), hpackString("application/grpc")]);
const okTrailers = headerField("grpc-status", "0");
const emptyMessage = Buffer.alloc(0);

/** Counts calls for the metrics; every call ends exactly once. */
export interface CallObserver {
  onCall(path: string, code: number): void;
}

/** Whether a request is a gRPC call, whatever its messages are encoded in. */
export function isGrpc({ contentType }: RequestHeaders): boolean {
  return contentType.startsWith("application/grpc");
}

/** Serves gRPC calls on HTTP/2 streams. */
export class GrpcServer {
  readonly #methods: ReadonlyMap<string, Method>;
  readonly #log: Logger;
  readonly #observer: CallObserver | undefined;

  constructor(methods: Iterable<Method>, log: Logger, observer?: CallObserver) {
    this.#methods = new Map([...methods].map((method) => [method.path, method]));
    this.#log = log;
    this.#observer = observer;
  }

  readonly onRequest = (stream: Http2Stream, headers: RequestHeaders): void => {
    const method = this.#methods.get(headers.path);
    // Paths of no method are not counted: a client could make up any number of them.
    const call = new Call(stream, headers, this.#log, method === undefined ? undefined : this.#observer);
    if (method === undefined) call.fail(unknownMethod(headers.path));
    else if (method.kind === "unary") serveUnary(call, method);
    else serveStream(call, method);
  };
}

/** One call: its stream, whether its headers are out, and how it ended. */
class Call implements CallInfo {
  readonly stream: Http2Stream;
  readonly authority: string;
  readonly metadata: Record<string, string> | undefined;
  readonly #path: string;
  readonly #log: Logger;
  readonly #observer: CallObserver | undefined;
  #headersSent = false;
  #abandoned: (() => void) | undefined;
  ended = false;

  constructor(stream: Http2Stream, headers: RequestHeaders, log: Logger, observer: CallObserver | undefined) {
    this.stream = stream;
    this.authority = headers.authority;
    this.metadata = headers.metadata;
    this.#path = headers.path;
    this.#log = log;
    this.#observer = observer;
  }

  onAbandoned(listener: () => void): void {
    this.#abandoned = listener;
  }

  sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    this.stream.sendHeaders(responseHeaders);
  }

  /** The whole answer of a unary call. */
  respond(frame: Buffer): void {
    if (this.ended) return;
    this.sendHeaders();
    this.stream.sendData(frame, responseMemory.isOwn(frame) ? () => responseMemory.giveBack(frame) : undefined);
    this.finish(grpcStatus.ok, okTrailers);
  }

  /** Ends the call with an error; in the trailers, or in the only header block when nothing was sent yet. */
  fail(error: unknown): void {
    if (this.ended) return;
    const { code, message } = statusOf(error);
    const isExpected = error instanceof RpcError || code !== grpcStatus.unknown;
    if (!isExpected) this.#log.error({ err: error, method: this.#path }, "a call failed unexpectedly");
    const trailers = Buffer.concat([
      headerField("grpc-status", String(code)),
      headerField("grpc-message", percentEncode(message)),
    ]);
    this.finish(code, this.#headersSent ? trailers : Buffer.concat([responseHeaders, trailers]));
  }

  finish(code: number, trailers: Buffer): void {
    this.ended = true;
    this.stream.end(trailers);
    this.#observer?.onCall(this.#path, code);
  }

  /** The client went away. */
  abandon(): void {
    if (this.ended) return;
    this.ended = true;
    this.#observer?.onCall(this.#path, grpcStatus.canceled);
    this.#abandoned?.();
  }
}

function serveUnary(call: Call, method: UnaryMethod): void {
  let request: Buffer | undefined;
  const splitter = new MessageSplitter((message) => {
    request ??= message;
  });
  call.stream.listener = {
    onData(bytes) {
      if (call.ended) return;
      try {
        splitter.push(bytes);
      } catch (error) {
        call.fail(error);
      }
    },
    onEnd() {
      if (call.ended) return;
      try {
        const answer = method.call(request ?? emptyMessage, call);
        if (answer instanceof Promise) {
          answer.then(
            (frame) => call.respond(frame),
            (error) => call.fail(error),
          );
        } else call.respond(answer);
      } catch (error) {
        call.fail(error);
      }
    },
    onAbort: () => call.abandon(),
    onDrain() {},
  };
}

function serveStream(call: Call, method: StreamMethod): void {
  const { stream } = call;
  let handler: StreamHandler | undefined;
  const close = (): void => {
    const closing = handler;
    handler = undefined;
    closing?.onClosed();
  };
  const guard = (work: () => void): void => {
    if (call.ended) return;
    try {
      work();
    } catch (error) {
      call.fail(error);
      close();
    }
  };
  const splitter = new MessageSplitter((message) => guard(() => handler?.onMessage(message)));
  stream.listener = {
    onData: (bytes) => guard(() => splitter.push(bytes)),
    onEnd: () => guard(() => handler?.onHalfClose()),
    onAbort() {
      call.abandon();
      close();
    },
    onDrain: () => handler?.onDrain?.(),
  };
  call.sendHeaders();
  guard(() => {
    handler = method.open(
      {
        send(parts) {
          if (!call.ended) stream.sendData(joinFrame(parts));
        },
        end(error) {
          if (call.ended) return;
          if (error === undefined) call.finish(grpcStatus.ok, okTrailers);
          else call.fail(error);
          close();
        },
        get pendingBytes() {
          return stream.pendingBytes;
        },
      },
      call,
    );
  });
}

function joinFrame(parts: Uint8Array[]): Buffer {
  let size = 0;
  for (const part of parts) size += part.length;
  const frame = Buffer.allocUnsafe(grpcPrefixBytes + size);
  frame[0] = 0;
  frame.writeUInt32BE(size, 1);
  let at = grpcPrefixBytes;
  for (const part of parts) {
    frame.set(part, at);
    at += part.length;
  }
  return frame;
}

/** gRPC's encoding of grpc-message: printable ASCII but `%` stays, everything else becomes `%XX` per byte. */
export function percentEncode(text: string): string {
  return text.replace(/[^ -$&-~]/gu, (character) =>
    [...Buffer.from(character)].map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, "0")}`).join(""),
  );
}

function unknownMethod(path: string): RpcError {
  const [, service = "", name = ""] = path.split("/");
  return unimplemented(`unknown method ${name} for service ${service}`);
}

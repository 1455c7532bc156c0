import { responseMemory } from "./response-memory.ts";

/**
 * What a service is to a transport: methods by path, over plain bytes. The gRPC server and the JSON gateway both drive
 * these, and neither knows what a method does.
 */
export interface CallInfo {
  /** The `:authority` or Host the client used. */
  readonly authority: string;
  /** Headers meant for etcd itself (`token`, `hasleader`, …), if there are any. */
  readonly metadata?: Record<string, string> | undefined;
  /** Calls back when the client gives up before it has its answer. */
  onAbandoned(listener: () => void): void;
}

export interface UnaryMethod {
  kind: "unary";
  path: string;
  /** Takes a request message, returns the response as a gRPC frame (see {@link grpcFrame}). Throws RpcError. */
  call(request: Buffer, info: CallInfo): Buffer | Promise<Buffer>;
}

export interface StreamMethod {
  kind: "stream";
  path: string;
  open(stream: ServerStream, info: CallInfo): StreamHandler;
}

export type Method = UnaryMethod | StreamMethod;

/** The server's half of a streaming call. */
export interface ServerStream {
  /** Sends one message, given in pieces. */
  send(parts: Uint8Array[]): void;
  /** Ends the call: with OK, or with the status of `error`. */
  end(error?: unknown): void;
  /** Bytes sent and not yet taken by the client's flow control or socket. */
  readonly pendingBytes: number;
}

/** The client's half of a streaming call. */
export interface StreamHandler {
  onMessage(message: Buffer): void;
  /** The client will send no more. */
  onHalfClose(): void;
  /** The call is over, whoever ended it. */
  onClosed(): void;
  /** {@link ServerStream.pendingBytes} went down. */
  onDrain?(): void;
}

/** Length of the prefix of a gRPC message: a compression flag and the length. */
export const grpcPrefixBytes = 5;

/** Room for a message of `size` bytes with its prefix already written. */
export function grpcFrame(size: number): Buffer {
  const frame = responseMemory.take(grpcPrefixBytes + size);
  frame[0] = 0;
  frame.writeUInt32BE(size, 1);
  return frame;
}

export function frameMessage(message: Uint8Array): Buffer {
  const frame = grpcFrame(message.length);
  frame.set(message, grpcPrefixBytes);
  return frame;
}

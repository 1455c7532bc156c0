import { etcdErrors, grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { errorMessage } from "@keelson/service";
import { ValueGoneError } from "../engine/value-cache.ts";
import { LogUnavailableError } from "../log/append-log.ts";

/**
 * What a client is told of a failure: etcd's own words; Unavailable for what the log cannot do now, by which
 * kube-apiserver and its like know that they may try again; else Unknown, which is a bug of ours.
 */
export function statusOf(error: unknown): RpcError {
  if (error instanceof RpcError) return error;
  if (error instanceof LogUnavailableError) return etcdErrors.unavailable(error);
  if (error instanceof ValueGoneError) return etcdErrors.compacted(error);
  return new RpcError(grpcStatus.unknown, errorMessage(error), { cause: error });
}

/** A request whose bytes are not the message they should be: the status that a gRPC server gives by itself. */
export function malformed(what: string): RpcError {
  return new RpcError(grpcStatus.internal, `grpc: failed to unmarshal the received message: ${what}`);
}

export function unimplemented(what: string): RpcError {
  return new RpcError(grpcStatus.unimplemented, what);
}

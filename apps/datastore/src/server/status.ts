import { grpcStatus, RpcError } from "@keelson/protocol/etcd";

/** A request whose bytes are not the message they should be: the status that a gRPC server gives by itself. */
export function malformed(what: string): RpcError {
  return new RpcError(grpcStatus.internal, `grpc: failed to unmarshal the received message: ${what}`);
}

export function unimplemented(what: string): RpcError {
  return new RpcError(grpcStatus.unimplemented, what);
}

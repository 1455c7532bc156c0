import type { IncomingHttpHeaders } from "node:http2";
import { type GrpcStatus, grpcStatus, RpcError } from "@keelson/protocol/etcd";

/** What the trailers of a call say; undefined is OK. */
export function statusError(headers: IncomingHttpHeaders | undefined, endpoint: string): RpcError | undefined {
  if (headers === undefined) return new RpcError(grpcStatus.unavailable, `connection to ${endpoint} lost`);
  const code = Number(headers["grpc-status"]);
  if (code === grpcStatus.ok) return undefined;
  const message = String(headers["grpc-message"] ?? "");
  return new RpcError(code as GrpcStatus, decodeMessage(message));
}

/** grpc-message is percent-encoded; a broken encoding is shown as it came. */
function decodeMessage(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** An answer that no gRPC server gives. */
export function httpFailure(endpoint: string, status: number | undefined): RpcError {
  return new RpcError(grpcStatus.unavailable, `${endpoint} answered HTTP ${status}, which is not gRPC`);
}

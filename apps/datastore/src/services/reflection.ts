import { Reader, Writer } from "@keelson/protocol/etcd";
import type { StreamMethod } from "../server/rpc.ts";

/** gRPC codes inside a reflection error. */
const notFound = 5;

/**
 * grpc.reflection.v1.ServerReflection, as far as tools need it to list the services (`grpcurl list`). Descriptors of the
 * messages are not served: clients of etcd bring their own.
 */
export function reflectionMethod(serviceNames: readonly string[]): StreamMethod {
  return {
    kind: "stream",
    path: "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    open: (stream) => ({
      onMessage: (message) => stream.send([answer(message, serviceNames)]),
      onHalfClose: () => stream.end(),
      onClosed() {},
    }),
  };
}

/** ServerReflectionRequest: list_services=7. Response: valid_host=1, original_request=2, list_services_response=6, error_response=7. */
function answer(request: Buffer, serviceNames: readonly string[]): Buffer {
  const writer = new Writer();
  writer.uint32((2 << 3) | 2);
  writer.bytes(request);
  if (asksForList(request)) {
    const list = new Writer();
    for (const name of serviceNames) {
      const service = new Writer();
      service.uint32((1 << 3) | 2);
      service.string(name);
      list.uint32((1 << 3) | 2);
      list.bytes(service.finish());
    }
    writer.uint32((6 << 3) | 2);
    writer.bytes(list.finish());
  } else {
    const error = new Writer();
    error.uint32(1 << 3);
    error.uint32(notFound);
    error.uint32((2 << 3) | 2);
    error.string("descriptors are not served; use etcd's proto files");
    writer.uint32((7 << 3) | 2);
    writer.bytes(error.finish());
  }
  return writer.finish();
}

function asksForList(request: Buffer): boolean {
  const reader = new Reader(request);
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    if (tag >> 3 === 7) return true;
    reader.skip(tag & 7);
  }
  return false;
}

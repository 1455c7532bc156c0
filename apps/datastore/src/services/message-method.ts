import { type Codec, DecodeError, type Input, type MethodDescriptor } from "@keelson/protocol/etcd";
import { type CallInfo, frameMessage, type UnaryMethod } from "../server/rpc.ts";
import { malformed } from "../server/status.ts";

/** A unary method over decoded messages: for everything that is not called thousands of times a second. */
export function messageMethod<Request, Response>(
  { path, request, response }: MethodDescriptor<Request, Response>,
  handle: (request: Request, info: CallInfo) => Input<Response> | Promise<Input<Response>>,
): UnaryMethod {
  return {
    kind: "unary",
    path,
    call(bytes, info) {
      const answer = handle(decodeMessage(request, bytes), info);
      return answer instanceof Promise
        ? answer.then((message) => frameMessage(response.encode(message)))
        : frameMessage(response.encode(answer));
    },
  };
}

/** Decodes a request; malformed bytes become the status that a gRPC server gives them. */
export function decodeMessage<T>(codec: Codec<T>, bytes: Uint8Array): T {
  try {
    return codec.decode(bytes);
  } catch (error) {
    throw error instanceof DecodeError ? malformed(error.message) : error;
  }
}

import {
  grpcStatus,
  healthCheckRequest,
  healthCheckResponse,
  RpcError,
  services as rpc,
  servingStatuses,
} from "@keelson/protocol/etcd";
import type { Method } from "../server/rpc.ts";
import { decodeMessage, messageMethod } from "./message-method.ts";

/** grpc.health.v1.Health. `""` is the server as a whole. `watchStatus` calls back on each change and returns how to stop. */
export function healthService(
  services: ReadonlySet<string>,
  health: { serving(): boolean; onChange(listener: () => void): () => void },
): Method[] {
  const status = (service: string): number | undefined => {
    if (service !== "" && !services.has(service)) return undefined;
    return health.serving() ? servingStatuses.serving : servingStatuses.notServing;
  };
  return [
    messageMethod(rpc.health.check, ({ service }) => {
      const found = status(service);
      if (found === undefined) throw new RpcError(grpcStatus.notFound, "unknown service");
      return { status: found };
    }),
    {
      kind: "stream",
      path: "/grpc.health.v1.Health/Watch",
      open(stream) {
        let stop = (): void => {};
        return {
          onMessage(message) {
            const { service } = decodeMessage(healthCheckRequest, message);
            const send = (): void => {
              stream.send([healthCheckResponse.encode({ status: status(service) ?? servingStatuses.serviceUnknown })]);
            };
            send();
            stop();
            stop = health.onChange(send);
          },
          // The client has said all it has to say with the first message; the stream goes on.
          onHalfClose() {},
          onClosed: () => stop(),
        };
      },
    },
  ];
}

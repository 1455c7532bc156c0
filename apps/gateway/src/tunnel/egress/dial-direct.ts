import { connect, type Socket } from "node:net";
import { type Clock, errorCode, errorMessage } from "@keelson/service";
import { EgressError } from "./egress-error.ts";

/** Dials a target that no tunnel leads to. */
export function dialDirect(host: string, port: number, timeoutMs: number, clock: Clock): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const timer = clock.setTimeout(() => {
      socket.destroy();
      reject(new EgressError(504, `dial tcp ${host}:${port}: no answer within ${timeoutMs / 1_000} s`));
    }, timeoutMs);
    socket.once("connect", () => {
      timer.cancel();
      socket.removeAllListeners("error");
      resolve(socket);
    });
    socket.once("error", (error) => {
      timer.cancel();
      const status = errorCode(error) === "ETIMEDOUT" ? 504 : 502;
      reject(new EgressError(status, `dial tcp ${host}:${port}: ${errorMessage(error)}`));
    });
  });
}

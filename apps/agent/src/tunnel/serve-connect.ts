import { connect } from "node:net";
import {
  type ConnectTarget,
  closeAfter,
  type DialFailure,
  joinConnections,
  type TunnelSession,
  type TunnelStream,
} from "@keelson/protocol/tunnel";
import { type Clock, errorCode } from "@keelson/service";
import { type AllowedTargets, parseTarget, refusalOf } from "./authorizer.ts";

export interface ConnectPolicy {
  /** The kubelet's port; follows the Node object. */
  kubeletPort: () => number;
  /** Where the kubelet listens when not on loopback. */
  kubeletHost: () => string | undefined;
  allowed: () => AllowedTargets | undefined;
  clock: Clock;
  /** Counts dials by result, for metrics. */
  onDial?: (result: "ok" | DialFailure) => void;
}

/** A target that does not answer is given up after this time; the API server's own patience is 30 s. */
const dialTimeoutMs = 10_000;

/** Serves one Connect: authorize, dial, pipe. A refusal ends that stream and nothing else. */
export function serveConnect(
  session: TunnelSession,
  stream: TunnelStream,
  { protocol, address }: ConnectTarget,
  policy: ConnectPolicy,
): void {
  const target = parseTarget(address);
  const refusal = refusalOf(protocol, target, policy.kubeletPort(), policy.allowed());
  if (refusal !== undefined || target === undefined) {
    policy.onDial?.("forbidden");
    session.refuse(stream, "forbidden", `connect not allowed: ${refusal}`);
    return;
  }
  const loopback = target.host === "127.0.0.1" || target.host === "::1";
  const host = (loopback && target.port === policy.kubeletPort() ? policy.kubeletHost() : undefined) ?? target.host;
  const socket = connect({ host, port: target.port, allowHalfOpen: true, noDelay: true });
  let settled = false;
  const timer = policy.clock.setTimeout(() => {
    settled = true;
    socket.destroy();
    policy.onDial?.("timeout");
    session.refuse(stream, "timeout", `dial tcp ${address}: i/o timeout`);
  }, dialTimeoutMs);
  socket.once("connect", () => {
    settled = true;
    timer.cancel();
    if (stream.destroyed) return void socket.destroy();
    policy.onDial?.("ok");
    session.accept(stream);
    joinConnections(stream, socket);
  });
  socket.on("error", (error) => {
    timer.cancel();
    // A target that has ended its answer may well reset what still comes: the answer goes out all the same.
    if (settled) return void (stream.writableEnded ? closeAfter(stream) : stream.destroy(error));
    settled = true;
    const { failure, text } = describe(error, address);
    policy.onDial?.(failure);
    session.refuse(stream, failure, text);
  });
  stream.once("close", () => {
    timer.cancel();
    closeAfter(socket);
  });
  socket.once("close", () => closeAfter(stream));
}

/** A failed dial in the words of Go's net package, which is what people search for. */
function describe(error: Error, address: string): { failure: DialFailure; text: string } {
  const code = errorCode(error);
  if (code === "ECONNREFUSED") {
    return { failure: "refused", text: `dial tcp ${address}: connect: connection refused` };
  }
  if (code === "ETIMEDOUT") return { failure: "timeout", text: `dial tcp ${address}: i/o timeout` };
  if (code === "EHOSTUNREACH") {
    return { failure: "unreachable", text: `dial tcp ${address}: connect: no route to host` };
  }
  if (code === "ENETUNREACH") {
    return { failure: "unreachable", text: `dial tcp ${address}: connect: network is unreachable` };
  }
  return { failure: "failed", text: `dial tcp ${address}: ${error.message}` };
}

import type { GrpcStream } from "@keelson/etcd-client";
import { authService, type MethodDescriptor, rangeRequest, services } from "@keelson/protocol/etcd";
import { errorMessage } from "@keelson/service";
import type { HealthChecks } from "../gateway/http-endpoints.ts";
import { type CallInfo, frameMessage, type Method, type ServerStream, type StreamHandler } from "../server/rpc.ts";
import type { EtcdUpstream } from "./etcd-upstream.ts";

const waitingPaths: ReadonlySet<string> = new Set([services.lock.lock.path, services.election.campaign.path]);

/** Every method of etcd, passed on byte for byte: streams one to one, statuses and texts as they come. */
export function proxyMethods(upstream: EtcdUpstream): Method[] {
  const descriptors = [...Object.values(services).flatMap((service) => Object.values(service)), ...authService];
  return (descriptors as MethodDescriptor[]).map(({ path, streaming }): Method => {
    if (streaming !== "unary")
      return { kind: "stream", path, open: (stream, info) => pass(upstream, path, stream, info) };
    return {
      kind: "unary",
      path,
      call: (request, info) =>
        upstream.unary(path, request, info.metadata, waitingPaths.has(path)).then((message) => frameMessage(message)),
    };
  });
}

/** Healthy is an etcd that answers a linearizable read, as etcd's own health check has it. */
export function proxyChecks(upstream: EtcdUpstream): HealthChecks {
  return {
    alarms: () => [],
    write: () => undefined,
    read: () =>
      upstream.unary(services.kv.range.path, rangeRequest.encode({ key: Buffer.from("health") })).then(
        () => undefined,
        (error) => errorMessage(error),
      ),
  };
}

/** What may wait for a client that reads slowly; etcd waits with the rest. */
const maxPendingBytes = 1 << 20;

function pass(upstream: EtcdUpstream, path: string, stream: ServerStream, info: CallInfo): StreamHandler {
  let call: GrpcStream | undefined;
  let closed = false;
  let paused = false;
  /** What the client says before the upstream call stands. */
  const early: ((call: GrpcStream) => void)[] = [];
  const whenOpen = (action: (call: GrpcStream) => void): void => {
    if (call === undefined) early.push(action);
    else action(call);
  };
  upstream
    .stream(
      path,
      {
        onMessage(message) {
          stream.send([message]);
          if (call === undefined || paused || stream.pendingBytes <= maxPendingBytes) return;
          paused = true;
          call.pause();
        },
        onEnd: (error) => stream.end(error),
      },
      info.metadata,
    )
    .then(
      (opened) => {
        call = opened;
        if (closed) opened.cancel();
        else for (const action of early.splice(0)) action(opened);
      },
      (error) => stream.end(error),
    );
  return {
    // The request's bytes are a view of a buffer that is read on.
    onMessage: (message) => whenOpen((opened) => opened.send(Buffer.from(message))),
    onHalfClose: () => whenOpen((opened) => opened.halfClose()),
    onDrain() {
      if (!paused || stream.pendingBytes > maxPendingBytes / 2) return;
      paused = false;
      call?.resume();
    },
    onClosed() {
      closed = true;
      call?.cancel();
    },
  };
}

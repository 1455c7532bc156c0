import { readFile } from "node:fs/promises";
import { type ClientHttp2Session, connect, constants } from "node:http2";
import {
  alarmActions,
  alarmTypes,
  type GrpcStatus,
  grpcStatus,
  type MethodDescriptor,
  RpcError,
  services,
} from "@keelson/protocol/etcd";
import { KeelsonError } from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi, EtcdStatus } from "./cluster-api.ts";
import type { EtcdLayout } from "./layout.ts";
import type { EtcdMember } from "./membership.ts";

const callTimeoutMs = 10_000;
const defragmentTimeoutMs = 120_000;
const snapshotTimeoutMs = 600_000;
const frameHeaderBytes = 5;

type Certificates = EtcdLayout["certificates"];
type Tls = { ca: Buffer; cert: Buffer; key: Buffer };

/**
 * Opens connections with the cluster's etcd client certificate. The files are read when the first call is made. These
 * are the calls of membership, maintenance and snapshots, some of which are made on one certain server; the datastore's
 * traffic has a client of its own.
 */
export function connectEtcd(certificates: Certificates): ConnectEtcd {
  return (endpoints) => new EtcdConnection(endpoints, certificates);
}

class EtcdConnection implements EtcdClusterApi {
  readonly #endpoints: readonly string[];
  readonly #certificates: Certificates;
  readonly #sessions = new Map<string, ClientHttp2Session>();
  #tls: Promise<Tls> | undefined;

  constructor(endpoints: readonly string[], certificates: Certificates) {
    this.#endpoints = endpoints;
    this.#certificates = certificates;
  }

  async memberList(): Promise<EtcdMember[]> {
    return (await this.#call(services.cluster.memberList, {})).members;
  }

  async memberAddAsLearner(peerUrls: readonly string[]): Promise<EtcdMember[]> {
    return (await this.#call(services.cluster.memberAdd, { peerUrls: [...peerUrls], isLearner: true })).members;
  }

  async memberPromote(id: bigint): Promise<void> {
    await this.#call(services.cluster.memberPromote, { id });
  }

  async memberRemove(id: bigint): Promise<void> {
    await this.#call(services.cluster.memberRemove, { id });
  }

  async memberUpdate(id: bigint, peerUrls: readonly string[]): Promise<void> {
    await this.#call(services.cluster.memberUpdate, { id, peerUrls: [...peerUrls] });
  }

  async status(): Promise<EtcdStatus> {
    const answer = await this.#call(services.maintenance.status, {});
    return {
      memberId: answer.header?.memberId ?? 0n,
      leaderId: answer.leader,
      raftAppliedIndex: Number(answer.raftAppliedIndex),
      isLearner: answer.isLearner,
      dbSizeBytes: answer.dbSize,
      version: answer.version,
    };
  }

  async defragment(): Promise<void> {
    await this.#call(services.maintenance.defragment, {}, defragmentTimeoutMs);
  }

  async disarmAlarms(): Promise<void> {
    const { alarm } = services.maintenance;
    const { alarms } = await this.#call(alarm, { action: alarmActions.get, alarm: alarmTypes.none, memberId: 0n });
    for (const { memberId, alarm: kind } of alarms) {
      await this.#call(alarm, { action: alarmActions.deactivate, alarm: kind, memberId });
    }
  }

  async *snapshot(): AsyncIterable<Uint8Array> {
    for await (const { blob } of this.#stream(
      this.#endpoints[0]!,
      services.maintenance.snapshot,
      {},
      snapshotTimeoutMs,
    )) {
      yield blob;
    }
  }

  async get(key: string): Promise<string | undefined> {
    const { kvs } = await this.#call(services.kv.range, { key: Buffer.from(key) });
    return kvs[0]?.value.toString();
  }

  async put(key: string, value: string): Promise<void> {
    await this.#call(services.kv.put, { key: Buffer.from(key), value: Buffer.from(value) });
  }

  async delete(key: string): Promise<void> {
    await this.#call(services.kv.deleteRange, { key: Buffer.from(key) });
  }

  close(): void {
    for (const session of this.#sessions.values()) session.destroy();
    this.#sessions.clear();
  }

  /** One call; another server is tried when one cannot be reached, not when it refuses. */
  async #call<Q, A>(
    method: MethodDescriptor<Q, A>,
    request: Parameters<MethodDescriptor<Q, A>["request"]["encode"]>[0],
    timeoutMs = callTimeoutMs,
  ): Promise<A> {
    let failure: unknown;
    for (const endpoint of this.#endpoints) {
      try {
        for await (const answer of this.#stream(endpoint, method, request, timeoutMs)) return answer;
        throw new Error("the server ended the call without an answer");
      } catch (error) {
        if (error instanceof RpcError) throw error;
        failure = error;
      }
    }
    throw new KeelsonError("etcd/unreachable", `no etcd server answers at ${this.#endpoints.join(", ")}`, {
      cause: failure,
    });
  }

  async *#stream<Q, A>(
    endpoint: string,
    method: MethodDescriptor<Q, A>,
    request: Parameters<MethodDescriptor<Q, A>["request"]["encode"]>[0],
    timeoutMs: number,
  ): AsyncGenerator<A> {
    const session = await this.#session(endpoint);
    const stream = session.request({
      [constants.HTTP2_HEADER_METHOD]: "POST",
      [constants.HTTP2_HEADER_PATH]: method.path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const timer = setTimeout(() => stream.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    let headers: Record<string, unknown> = {};
    let trailers: Record<string, unknown> = {};
    stream.on("response", (received) => {
      headers = received;
    });
    stream.on("trailers", (received) => {
      trailers = received;
    });
    const body = method.request.encode(request);
    const frame = Buffer.alloc(frameHeaderBytes);
    frame.writeUInt32BE(body.length, 1);
    stream.end(Buffer.concat([frame, body]));
    try {
      yield* decodeFrames(stream, method.response);
      const status = { ...headers, ...trailers };
      const code = Number(status["grpc-status"] ?? grpcStatus.unknown) as GrpcStatus;
      if (code !== grpcStatus.ok)
        throw new RpcError(code, decodeURIComponent(String(status["grpc-message"] ?? "unknown error")));
    } finally {
      clearTimeout(timer);
      stream.destroy();
    }
  }

  async #session(endpoint: string): Promise<ClientHttp2Session> {
    const known = this.#sessions.get(endpoint);
    if (known !== undefined && !known.destroyed && !known.closed) return known;
    this.#tls ??= readTls(this.#certificates);
    this.#tls.catch(() => {
      this.#tls = undefined;
    });
    const session = connect(endpoint, await this.#tls);
    this.#sessions.set(endpoint, session);
    // Each call reports its own failure; the session's error comes on top of it.
    session.on("error", () => this.#sessions.delete(endpoint));
    session.on("goaway", () => this.#sessions.delete(endpoint));
    return session;
  }
}

async function* decodeFrames<A>(
  chunks: AsyncIterable<Buffer>,
  codec: { decode(bytes: Uint8Array): A },
): AsyncGenerator<A> {
  let pending: Buffer = Buffer.alloc(0);
  for await (const chunk of chunks) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= frameHeaderBytes) {
      const end = frameHeaderBytes + pending.readUInt32BE(1);
      if (pending.length < end) break;
      yield codec.decode(pending.subarray(frameHeaderBytes, end));
      pending = pending.subarray(end);
    }
  }
}

async function readTls(certificates: Certificates): Promise<Tls> {
  const [ca, cert, key] = await Promise.all([
    readFile(certificates.serverCa),
    readFile(certificates.clientCert),
    readFile(certificates.clientKey),
  ]);
  return { ca, cert, key };
}

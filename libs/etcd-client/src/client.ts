import {
  type CompactionRequest,
  type DeleteRangeRequest,
  type DeleteRangeResponse,
  grpcStatus,
  type Input,
  type LeaseGrantResponse,
  type LeaseKeepAliveResponse,
  type LeaseTimeToLiveResponse,
  type MemberListResponse,
  type MethodDescriptor,
  type PutRequest,
  type PutResponse,
  type RangeRequest,
  type RangeResponse,
  RpcError,
  type StatusResponse,
  services,
  type TxnRequest,
  type TxnResponse,
  type WatchCreateRequest,
} from "@keelson/protocol/etcd";
import type { Resolve } from "./addresses.ts";
import { Endpoints } from "./endpoints.ts";
import { CallFailure, type EtcdTlsSource } from "./grpc-connection.ts";
import { ResumingWatch, type Watch, type WatchHandlers } from "./watch.ts";

export interface EtcdClientOptions {
  /** `http://host:port`, `https://host:port` or `unix:///path`; tried in turn, the last good one first. */
  endpoints: readonly string[];
  tls?: EtcdTlsSource;
  /** How long a call may take in all, in milliseconds (5000). */
  timeoutMs?: number;
  /** After how much silence during a call a connection is tested, and how long that may take, in milliseconds (1000). */
  silenceMs?: number;
  /** Turns host names into addresses (the system's resolver). */
  resolve?: Resolve;
}

export interface CallOptions {
  timeoutMs?: number;
}

/** A typed client of etcd's v3 API. Calls reject with {@link RpcError}: the server's code and text, or Unavailable. */
export interface EtcdClient {
  range(request: Input<RangeRequest>, options?: CallOptions): Promise<RangeResponse>;
  put(request: Input<PutRequest>, options?: CallOptions): Promise<PutResponse>;
  deleteRange(request: Input<DeleteRangeRequest>, options?: CallOptions): Promise<DeleteRangeResponse>;
  txn(request: Input<TxnRequest>, options?: CallOptions): Promise<TxnResponse>;
  compact(request: Input<CompactionRequest>, options?: CallOptions): Promise<void>;
  watch(request: Input<WatchCreateRequest>, handlers: WatchHandlers): Watch;
  /** `id` 0n lets the server choose. */
  leaseGrant(ttlSeconds: number, id?: bigint, options?: CallOptions): Promise<LeaseGrantResponse>;
  leaseRevoke(id: bigint, options?: CallOptions): Promise<void>;
  /** One keep-alive; a TTL of 0 in the answer means that the lease is gone. */
  leaseKeepAlive(id: bigint, options?: CallOptions): Promise<LeaseKeepAliveResponse>;
  leaseTimeToLive(id: bigint, keys: boolean, options?: CallOptions): Promise<LeaseTimeToLiveResponse>;
  status(options?: CallOptions): Promise<StatusResponse>;
  memberList(options?: CallOptions): Promise<MemberListResponse>;
  /** Any unary method of {@link services}, for what has no name here. */
  call<Req, Res>(method: MethodDescriptor<Req, Res>, request: Input<Req>, options?: CallOptions): Promise<Res>;
  /** Any streaming method: messages in, messages out, on one connection and without resuming. */
  stream<Req, Res>(
    method: MethodDescriptor<Req, Res>,
    handlers: { onMessage(message: Res): void; onEnd(error: RpcError | undefined): void },
  ): Promise<{ send(message: Input<Req>): void; halfClose(): void; cancel(): void }>;
  close(): void;
}

const defaultTimeoutMs = 5_000;
/** Reads may be asked again of another endpoint; writes only when they never left. Source: clientv3 retry.go. */
const reads = new Set<string>([
  services.kv.range.path,
  services.maintenance.status.path,
  services.cluster.memberList.path,
  services.lease.timeToLive.path,
]);

export function createEtcdClient(options: EtcdClientOptions): EtcdClient {
  return new FailoverClient(options);
}

class FailoverClient implements EtcdClient {
  readonly #endpoints: Endpoints;
  readonly #timeoutMs: number;

  constructor(options: EtcdClientOptions) {
    this.#endpoints = new Endpoints(options.endpoints, options.tls, options.silenceMs, options.resolve);
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
  }

  range(request: Input<RangeRequest>, options?: CallOptions): Promise<RangeResponse> {
    return this.call(services.kv.range, request, options);
  }

  put(request: Input<PutRequest>, options?: CallOptions): Promise<PutResponse> {
    return this.call(services.kv.put, request, options);
  }

  deleteRange(request: Input<DeleteRangeRequest>, options?: CallOptions): Promise<DeleteRangeResponse> {
    return this.call(services.kv.deleteRange, request, options);
  }

  txn(request: Input<TxnRequest>, options?: CallOptions): Promise<TxnResponse> {
    return this.call(services.kv.txn, request, options);
  }

  async compact(request: Input<CompactionRequest>, options?: CallOptions): Promise<void> {
    await this.call(services.kv.compact, request, options);
  }

  watch(request: Input<WatchCreateRequest>, handlers: WatchHandlers): Watch {
    return new ResumingWatch((path, raw) => this.#endpoints.stream(path, raw), request, handlers);
  }

  leaseGrant(ttlSeconds: number, id = 0n, options?: CallOptions): Promise<LeaseGrantResponse> {
    return this.call(services.lease.grant, { ttl: ttlSeconds, id }, options);
  }

  async leaseRevoke(id: bigint, options?: CallOptions): Promise<void> {
    await this.call(services.lease.revoke, { id }, options);
  }

  async leaseKeepAlive(id: bigint, options: CallOptions = {}): Promise<LeaseKeepAliveResponse> {
    const { timeoutMs = this.#timeoutMs } = options;
    return new Promise((resolve, reject) => {
      let answer: LeaseKeepAliveResponse | undefined;
      const opened = this.stream(services.lease.keepAlive, {
        onMessage: (message) => {
          answer = message;
          resolve(message);
        },
        onEnd: (error) => {
          clearTimeout(timer);
          if (answer === undefined) reject(error ?? new RpcError(grpcStatus.internal, "keep-alive without an answer"));
        },
      });
      const timer = setTimeout(() => {
        reject(new RpcError(grpcStatus.deadlineExceeded, `no keep-alive answer within ${timeoutMs} ms`));
        void opened.then((stream) => stream.cancel()).catch(() => {});
      }, timeoutMs);
      opened
        .then((stream) => {
          stream.send({ id });
          stream.halfClose();
        })
        .catch((error: unknown) => {
          clearTimeout(timer);
          reject(error);
        });
    });
  }

  leaseTimeToLive(id: bigint, keys: boolean, options?: CallOptions): Promise<LeaseTimeToLiveResponse> {
    return this.call(services.lease.timeToLive, { id, keys }, options);
  }

  status(options?: CallOptions): Promise<StatusResponse> {
    return this.call(services.maintenance.status, {}, options);
  }

  memberList(options?: CallOptions): Promise<MemberListResponse> {
    return this.call(services.cluster.memberList, {}, options);
  }

  async call<Req, Res>(
    method: MethodDescriptor<Req, Res>,
    request: Input<Req>,
    options: CallOptions = {},
  ): Promise<Res> {
    const { timeoutMs = this.#timeoutMs } = options;
    const isRepeatable = reads.has(method.path);
    try {
      return decode(
        method,
        await this.#endpoints.unary(method.path, method.request.encode(request), { timeoutMs, isRepeatable }),
      );
    } catch (error) {
      throw error instanceof CallFailure ? error.error : error;
    }
  }

  async stream<Req, Res>(
    method: MethodDescriptor<Req, Res>,
    handlers: { onMessage(message: Res): void; onEnd(error: RpcError | undefined): void },
  ): Promise<{ send(message: Input<Req>): void; halfClose(): void; cancel(): void }> {
    const raw = {
      onMessage: (bytes: Buffer) => handlers.onMessage(method.response.decode(bytes)),
      onEnd: handlers.onEnd,
    };
    try {
      const stream = await this.#endpoints.stream(method.path, raw);
      return {
        send: (message) => stream.send(method.request.encode(message)),
        halfClose: stream.halfClose,
        cancel: stream.cancel,
      };
    } catch (error) {
      throw error instanceof CallFailure ? error.error : error;
    }
  }

  close(): void {
    this.#endpoints.close();
  }
}

function decode<Req, Res>(method: MethodDescriptor<Req, Res>, bytes: Buffer): Res {
  try {
    return method.response.decode(bytes);
  } catch (cause) {
    throw new RpcError(grpcStatus.internal, `the answer to ${method.path} is malformed`, { cause });
  }
}

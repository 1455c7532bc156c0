import { grpcStatus } from "@keelson/protocol/etcd";
import type { Resolve } from "./addresses.ts";
import {
  CallFailure,
  type EtcdTlsSource,
  GrpcConnection,
  type GrpcMetadata,
  type GrpcStream,
  type GrpcStreamHandlers,
} from "./grpc-connection.ts";

/**
 * How long a call waits for a connection while there is another endpoint to ask. A host that is gone refuses nothing: its
 * address is found to be unreachable only after seconds, and a call that waited for that would have no time left.
 */
const connectPatienceMs = 500;

/** Codes that say that this endpoint cannot serve now, be it its own words or those of the connection. */
const unfit = new Set<number>([grpcStatus.unavailable, grpcStatus.deadlineExceeded]);

export interface UnaryOptions {
  /** How long the call may take in all, in milliseconds. */
  timeoutMs: number;
  metadata?: GrpcMetadata;
  /** The call has the same effect when it is carried out twice, so it may be sent again although it may have arrived. */
  isRepeatable?: boolean;
}

/** The endpoints of one etcd cluster. A call goes to the one that served last; when that fails, the next is preferred. */
export class Endpoints {
  readonly #connections: readonly GrpcConnection[];
  #preferred = 0;

  constructor(endpoints: readonly string[], tls: EtcdTlsSource | undefined, silenceMs?: number, resolve?: Resolve) {
    if (endpoints.length === 0) throw new RangeError("an etcd client needs at least one endpoint");
    this.#connections = endpoints.map((endpoint) => new GrpcConnection(endpoint, tls, silenceMs, resolve));
  }

  /** Sends one message and waits for one; asks the other endpoints in turn if it may. Rejects with {@link CallFailure}. */
  unary(path: string, message: Buffer, options: UnaryOptions): Promise<Buffer> {
    const { timeoutMs, metadata, isRepeatable = false } = options;
    const deadlineMs = performance.now() + timeoutMs;
    return this.#first(
      (connection, connectMs) =>
        connection.unary(path, message, Math.max(1, deadlineMs - performance.now()), metadata, connectMs),
      ({ neverSent, error }) =>
        (neverSent || (isRepeatable && error.code === grpcStatus.unavailable)) && performance.now() < deadlineMs,
    );
  }

  /** Opens a streaming call on the first endpoint that can be reached. Rejects with {@link CallFailure}. */
  stream(path: string, handlers: GrpcStreamHandlers, metadata?: GrpcMetadata): Promise<GrpcStream> {
    return this.#first(
      (connection, connectMs) => {
        const onEnd: GrpcStreamHandlers["onEnd"] = (error) => {
          if (error !== undefined && unfit.has(error.code)) this.#moveOn(connection);
          handlers.onEnd(error);
        };
        return connection.stream(path, { onMessage: handlers.onMessage, onEnd }, metadata, connectMs);
      },
      ({ neverSent }) => neverSent,
    );
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  async #first<T>(
    call: (connection: GrpcConnection, connectMs: number | undefined) => Promise<T>,
    mayAskNext: (failure: CallFailure) => boolean,
  ): Promise<T> {
    for (let others = this.#connections.length - 1; ; others--) {
      const connection = this.#connections[this.#preferred]!;
      try {
        return await call(connection, others > 0 ? connectPatienceMs : undefined);
      } catch (error) {
        if (!(error instanceof CallFailure)) throw error;
        if (unfit.has(error.error.code)) this.#moveOn(connection);
        if (others === 0 || !mayAskNext(error)) throw error;
      }
    }
  }

  /** The next endpoint takes over, unless another call has moved on already. */
  #moveOn(failed: GrpcConnection): void {
    if (this.#connections[this.#preferred] !== failed) return;
    this.#preferred = (this.#preferred + 1) % this.#connections.length;
  }
}

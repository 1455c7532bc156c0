import {
  CallFailure,
  Endpoints,
  type EtcdTlsSource,
  type GrpcMetadata,
  type GrpcStream,
  type GrpcStreamHandlers,
} from "@keelson/etcd-client";
import { etcdErrors } from "@keelson/protocol/etcd";

/** As long as etcd itself takes before it gives a request up, and a little more, so that its own answer wins. */
const callTimeoutMs = 10_000;
/** A lock or a campaign waits for others; only the client decides how long. */
const waitingCallTimeoutMs = 24 * 3_600_000;

/** A real etcd behind the datastore's own port. Rejects with etcd's own errors, or that none of its members is there. */
export class EtcdUpstream {
  readonly #endpoints: Endpoints;

  constructor(endpoints: readonly string[], tls: EtcdTlsSource | undefined) {
    this.#endpoints = new Endpoints(endpoints, tls);
  }

  /** Sends one message and waits for one. A call that may have reached the server is never sent again. */
  unary(path: string, message: Buffer, metadata: GrpcMetadata = {}, waits = false): Promise<Buffer> {
    const timeoutMs = waits ? waitingCallTimeoutMs : callTimeoutMs;
    return this.#endpoints.unary(path, message, { timeoutMs, metadata }).catch(rethrow);
  }

  stream(path: string, handlers: GrpcStreamHandlers, metadata?: GrpcMetadata): Promise<GrpcStream> {
    return this.#endpoints.stream(path, handlers, metadata).catch(rethrow);
  }

  close(): void {
    this.#endpoints.close();
  }
}

function rethrow(error: unknown): never {
  if (!(error instanceof CallFailure)) throw error;
  throw error.neverSent ? etcdErrors.unavailable(error) : error.error;
}

import {
  CallFailure,
  type EtcdTlsSource,
  GrpcConnection,
  type GrpcMetadata,
  type GrpcStream,
  type GrpcStreamHandlers,
} from "@keelson/etcd-client";
import { etcdErrors } from "@keelson/protocol/etcd";

/** As long as etcd itself takes before it gives a request up, and a little more, so that its own answer wins. */
const callTimeoutMs = 10_000;
/** A lock or a campaign waits for others; only the client decides how long. */
const waitingCallTimeoutMs = 24 * 3_600_000;

/** The endpoints of a real etcd. A call goes to the one that worked last; one that cannot be reached is passed over. */
export class EtcdUpstream {
  readonly #connections: GrpcConnection[];
  #preferred = 0;
  /** Why the last call could not be sent anywhere; undefined when it could. */
  failure: unknown;

  constructor(endpoints: readonly string[], tls: EtcdTlsSource | undefined) {
    this.#connections = endpoints.map((endpoint) => new GrpcConnection(endpoint, tls));
  }

  /** Sends one message and waits for one. A call that may have reached the server is never sent again. */
  unary(path: string, message: Buffer, metadata?: GrpcMetadata, waits = false): Promise<Buffer> {
    const timeoutMs = waits ? waitingCallTimeoutMs : callTimeoutMs;
    return this.#first((connection) => connection.unary(path, message, timeoutMs, metadata));
  }

  stream(path: string, handlers: GrpcStreamHandlers, metadata?: GrpcMetadata): Promise<GrpcStream> {
    return this.#first((connection) => connection.stream(path, handlers, metadata));
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  async #first<T>(call: (connection: GrpcConnection) => Promise<T>): Promise<T> {
    for (let tried = 0; tried < this.#connections.length; tried++) {
      const at = this.#preferred;
      try {
        const answer = await call(this.#connections[at]!);
        this.failure = undefined;
        return answer;
      } catch (error) {
        if (!(error instanceof CallFailure)) throw error;
        if (!error.neverSent) throw error.error;
        this.failure = error;
        if (this.#preferred === at) this.#preferred = (at + 1) % this.#connections.length;
      }
    }
    throw etcdErrors.unavailable(this.failure);
  }
}

import {
  type Event,
  etcdErrors,
  grpcStatus,
  type Input,
  RpcError,
  services,
  type WatchCreateRequest,
  type WatchResponse,
} from "@keelson/protocol/etcd";
import { Backoff } from "@keelson/service";
import { CallFailure, type GrpcStream, type GrpcStreamHandlers } from "./grpc-connection.ts";

export interface WatchHandlers {
  /** The watch stands at this revision: later events follow. Called again after each reconnect. */
  onCreated?(revision: number): void;
  /** Events of one or more whole revisions, in order; `revision` is the header's. */
  onEvents(events: readonly Event[], revision: number): void;
  /** Everything up to `revision` has been delivered. */
  onProgress?(revision: number): void;
  /** The watch cannot go on: compacted, or refused. Not called after {@link Watch.cancel}. */
  onEnd(error: RpcError): void;
}

export interface Watch {
  cancel(): void;
  /** Asks for {@link WatchHandlers.onProgress}. The server may drop the question while events are under way. */
  requestProgress(): void;
}

/** Opens a stream to an endpoint that can be reached. */
export type OpenStream = (path: string, handlers: GrpcStreamHandlers) => Promise<GrpcStream>;

/** Codes after which the same watch goes on elsewhere. Source: clientv3 watch.go (isHaltErr). */
const resumable = new Set<number>([grpcStatus.unavailable, grpcStatus.internal]);

/**
 * A watch that survives the loss of its connection: it opens again at the revision after the last one it delivered, so
 * that no event is lost or seen twice. Only compaction and refusals end it.
 */
export class ResumingWatch implements Watch {
  readonly #open: OpenStream;
  readonly #handlers: WatchHandlers;
  readonly #request: Input<WatchCreateRequest>;
  readonly #backoff = new Backoff({ initialMs: 25, maxMs: 1_000 });
  #stream: GrpcStream | undefined;
  #retry: NodeJS.Timeout | undefined;
  #nextRevision: number;
  #isOver = false;
  /** Parts of a response that was sent in fragments. */
  #fragments: Event[] = [];

  constructor(open: OpenStream, request: Input<WatchCreateRequest>, handlers: WatchHandlers) {
    this.#open = open;
    this.#request = request;
    this.#handlers = handlers;
    this.#nextRevision = request.startRevision ?? 0;
    void this.#connect();
  }

  cancel(): void {
    this.#isOver = true;
    clearTimeout(this.#retry);
    this.#stream?.cancel();
  }

  requestProgress(): void {
    this.#stream?.send(services.watch.watch.request.encode({ progressRequest: {} }));
  }

  async #connect(): Promise<void> {
    try {
      const stream = await this.#open(services.watch.watch.path, {
        onMessage: (bytes) => this.#onMessage(bytes),
        onEnd: (error) => this.#onStreamEnd(error),
      });
      if (this.#isOver) return stream.cancel();
      this.#stream = stream;
      const createRequest = { ...this.#request, startRevision: this.#nextRevision };
      stream.send(services.watch.watch.request.encode({ createRequest }));
    } catch (error) {
      this.#onStreamEnd(
        error instanceof CallFailure ? error.error : new RpcError(grpcStatus.unavailable, String(error)),
      );
    }
  }

  #onMessage(bytes: Buffer): void {
    if (this.#isOver) return;
    const response = services.watch.watch.response.decode(bytes);
    if (response.canceled) {
      this.#onCanceled(response);
      return;
    }
    const revision = response.header?.revision ?? 0;
    if (response.created) {
      this.#backoff.reset();
      if (this.#nextRevision === 0) this.#nextRevision = revision + 1;
      this.#handlers.onCreated?.(revision);
      return;
    }
    if (response.fragment || this.#fragments.length > 0) {
      this.#fragments.push(...response.events);
      if (response.fragment) return;
    }
    const events = this.#fragments.length > 0 ? this.#fragments : response.events;
    this.#fragments = [];
    const last = events.at(-1)?.kv?.modRevision;
    if (last === undefined) {
      this.#nextRevision = Math.max(this.#nextRevision, revision + 1);
      this.#handlers.onProgress?.(revision);
    } else {
      this.#nextRevision = last + 1;
      this.#handlers.onEvents(events, revision);
    }
  }

  #onCanceled(response: WatchResponse): void {
    this.#finish(
      response.compactRevision > 0
        ? etcdErrors.compacted()
        : new RpcError(grpcStatus.canceled, response.cancelReason || "watch canceled by the server"),
    );
    this.#stream?.cancel();
  }

  #onStreamEnd(error: RpcError | undefined): void {
    if (this.#isOver) return;
    this.#stream = undefined;
    this.#fragments = [];
    if (error !== undefined && !resumable.has(error.code)) {
      this.#finish(error);
      return;
    }
    this.#retry = setTimeout(() => void this.#connect(), this.#backoff.next());
  }

  #finish(error: RpcError): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#handlers.onEnd(error);
  }
}

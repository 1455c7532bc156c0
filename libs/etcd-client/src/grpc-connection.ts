import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from "node:http2";
import { connect as connectSocket } from "node:net";
import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { Addresses, type Resolve, systemResolve } from "./addresses.ts";
import { MessageReader, writeMessage } from "./grpc-messages.ts";
import { httpFailure, statusError } from "./grpc-status.ts";

/** Client side of TLS towards an etcd: PEM texts. */
export interface EtcdTls {
  ca: string;
  cert?: string;
  key?: string;
  /** False trusts any certificate of the server (true). */
  rejectUnauthorized?: boolean;
}

/** TLS material, or where to read it at each connect: it may be made, or renewed, after the client. */
export type EtcdTlsSource = EtcdTls | (() => EtcdTls);

/** Whether a failed call may have reached the server: only a call that never left may be sent again blindly. */
export class CallFailure extends Error {
  readonly error: RpcError;
  readonly neverSent: boolean;

  constructor(error: RpcError, neverSent: boolean) {
    super(error.message, { cause: error });
    this.error = error;
    this.neverSent = neverSent;
  }
}

export interface GrpcStreamHandlers {
  onMessage(message: Buffer): void;
  /** The call is over; undefined means status OK. Called once. */
  onEnd(error: RpcError | undefined): void;
}

/** The client's half of a streaming call. */
export interface GrpcStream {
  send(message: Buffer): void;
  halfClose(): void;
  cancel(): void;
  /** Takes no more from the server until {@link resume}; flow control then stops it. */
  pause(): void;
  resume(): void;
}

/** Headers that go along with a call (`token`, `hasleader`, …). */
export type GrpcMetadata = Readonly<Record<string, string>>;

/** How long a connection may take to be made; the first try is given up sooner, since another address may answer. */
const connectTimeoutMs = 5_000;
const firstConnectTimeoutMs = 1_500;
const pingIntervalMs = 15_000;
const pingTimeoutMs = 5_000;
/** A call that has waited this long for its answer asks whether the other end is there at all. */
const defaultSilenceMs = 1_000;
/** Large lists come in one message; the default window of 64 KiB would make them crawl. */
const windowBytes = 4 * 1024 * 1024;

/** One HTTP/2 connection to one etcd endpoint, opened on first use and opened again after a loss. */
export class GrpcConnection {
  readonly endpoint: string;
  readonly #tls: EtcdTlsSource | undefined;
  #session: ClientHttp2Session | undefined;
  #ready: Promise<ClientHttp2Session> | undefined;
  #isClosed = false;
  /** Connections with a ping of {@link #probe} under way. */
  readonly #probed = new WeakSet<ClientHttp2Session>();

  readonly #silenceMs: number;
  readonly #addresses: Addresses;
  /** Tries to connect that failed since the last that did not. */
  #failures = 0;

  constructor(
    endpoint: string,
    tls: EtcdTlsSource | undefined,
    silenceMs = defaultSilenceMs,
    resolve: Resolve = systemResolve,
  ) {
    this.endpoint = endpoint;
    this.#tls = tls;
    this.#silenceMs = silenceMs;
    this.#addresses = new Addresses(resolve);
  }

  /** Sends one message and waits for one, `connectMs` of the time for the connection. Rejects with {@link CallFailure}. */
  async unary(
    path: string,
    message: Buffer,
    timeoutMs: number,
    metadata?: GrpcMetadata,
    connectMs = connectTimeoutMs,
  ): Promise<Buffer> {
    const deadlineMs = performance.now() + timeoutMs;
    const session = await this.#connected(Math.min(timeoutMs, connectMs));
    return new Promise((resolve, reject) => {
      let answer: Buffer | undefined;
      let settled = false;
      const timer = setTimeout(() => {
        const error = new RpcError(
          grpcStatus.deadlineExceeded,
          `no answer from ${this.endpoint} within ${timeoutMs} ms`,
        );
        finish(error);
        call.cancel();
      }, deadlineMs - performance.now());
      const finish = (error: RpcError | undefined): void => {
        if (settled) return;
        settled = true;
        clearTimeout(timer);
        clearTimeout(silence);
        if (error !== undefined) reject(new CallFailure(error, false));
        else if (answer === undefined) {
          reject(new CallFailure(new RpcError(grpcStatus.internal, `${this.endpoint} sent no message`), false));
        } else resolve(answer);
      };
      const handlers = {
        onMessage: (received: Buffer) => {
          answer = received;
        },
        onEnd: finish,
      };
      const call = this.#open(session, path, handlers, metadata);
      const silence = setTimeout(() => this.#probe(session), this.#silenceMs).unref();
      call.send(message);
      call.halfClose();
    });
  }

  /** Opens a streaming call. Rejects with {@link CallFailure} when there is no connection. */
  async stream(
    path: string,
    handlers: GrpcStreamHandlers,
    metadata?: GrpcMetadata,
    connectMs = connectTimeoutMs,
  ): Promise<GrpcStream> {
    return this.#open(await this.#connected(connectMs), path, handlers, metadata);
  }

  /** Ends the calls under way; later ones fail. */
  close(): void {
    this.#isClosed = true;
    this.#session?.destroy();
    this.#session = undefined;
    this.#ready = undefined;
  }

  #open(
    session: ClientHttp2Session,
    path: string,
    handlers: GrpcStreamHandlers,
    metadata: GrpcMetadata = {},
  ): GrpcStream {
    const stream = session.request({
      ...metadata,
      ":method": "POST",
      ":path": path,
      "content-type": "application/grpc",
      te: "trailers",
    });
    const reader = new MessageReader(handlers.onMessage);
    let status: IncomingHttpHeaders | undefined;
    let failure: RpcError | undefined;
    let isOver = false;
    const over = (error: RpcError | undefined): void => {
      if (isOver) return;
      isOver = true;
      handlers.onEnd(error);
    };
    stream.on("response", (headers) => {
      if (headers["grpc-status"] !== undefined) status = headers;
      else if (headers[":status"] !== 200) failure = httpFailure(this.endpoint, headers[":status"]);
    });
    stream.on("trailers", (trailers) => {
      status = trailers;
    });
    stream.on("data", (chunk: Buffer) => {
      if (isOver) return;
      try {
        reader.push(chunk);
      } catch (cause) {
        failure ??= new RpcError(grpcStatus.internal, `${this.endpoint} sent a malformed message`, { cause });
        stream.close(constants.NGHTTP2_CANCEL);
      }
    });
    stream.on("error", (error) => {
      failure ??= new RpcError(grpcStatus.unavailable, `connection to ${this.endpoint} lost`, { cause: error });
    });
    stream.on("close", () => over(failure ?? statusError(status, this.endpoint)));
    return {
      send: (message) => writeMessage(stream, message),
      halfClose: () => void stream.end(),
      cancel: () => {
        over(new RpcError(grpcStatus.canceled, "canceled by the client"));
        stream.close(constants.NGHTTP2_CANCEL);
        // A paused stream with something left to read would never close.
        stream.resume();
      },
      pause: () => void stream.pause(),
      resume: () => void stream.resume(),
    };
  }

  #connected(timeoutMs: number): Promise<ClientHttp2Session> {
    if (this.#isClosed) {
      return Promise.reject(new CallFailure(new RpcError(grpcStatus.canceled, "the client is closed"), true));
    }
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) {
      return Promise.resolve(this.#session);
    }
    this.#ready ??= this.#connect().finally(() => {
      this.#ready = undefined;
    });
    return timeoutMs >= connectTimeoutMs ? this.#ready : this.#inTime(this.#ready, timeoutMs);
  }

  /** A call with little time does not wait for a connection longer than that; the connection goes on being made. */
  #inTime(connecting: Promise<ClientHttp2Session>, timeoutMs: number): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        const error = new RpcError(
          grpcStatus.deadlineExceeded,
          `no connection to ${this.endpoint} within ${timeoutMs} ms`,
        );
        reject(new CallFailure(error, true));
      }, timeoutMs);
      connecting.then(resolve, reject).finally(() => clearTimeout(timer));
    });
  }

  #connect(): Promise<ClientHttp2Session> {
    return new Promise((resolve, reject) => {
      const isUnix = this.endpoint.startsWith("unix://");
      const session = connect(isUnix ? "http://localhost" : this.endpoint, {
        settings: { initialWindowSize: windowBytes, enablePush: false },
        ...(typeof this.#tls === "function" ? this.#tls() : this.#tls),
        ...(isUnix
          ? { createConnection: () => connectSocket(this.endpoint.slice("unix://".length)) }
          : { lookup: this.#addresses.lookup }),
      });
      const fail = (cause: unknown): void => {
        clearTimeout(timer);
        this.#failures++;
        this.#addresses.failed(session.socket?.remoteAddress);
        session.destroy();
        const error = new RpcError(grpcStatus.unavailable, `cannot connect to ${this.endpoint}`, { cause });
        reject(new CallFailure(error, true));
      };
      const timeoutMs = Math.min(connectTimeoutMs, firstConnectTimeoutMs * 2 ** this.#failures);
      const timer = setTimeout(() => fail(new Error(`no connection within ${timeoutMs} ms`)), timeoutMs);
      session.once("error", fail);
      session.once("close", () => fail(new Error("connection closed")));
      session.once("connect", () => {
        if (this.#isClosed || session.destroyed) {
          fail(new Error(this.#isClosed ? "the client was closed meanwhile" : "the connection ended as it stood"));
          return;
        }
        clearTimeout(timer);
        session.off("error", fail);
        session.removeAllListeners("close");
        session.setLocalWindowSize(windowBytes * 4);
        this.#session = session;
        this.#failures = 0;
        this.#watchLiveness(session);
        resolve(session);
      });
    });
  }

  /** Ends a connection whose other end does not answer a ping at once; one that is only slow keeps its calls. */
  #probe(session: ClientHttp2Session): void {
    if (session.destroyed || this.#probed.has(session)) return;
    this.#probed.add(session);
    this.#expectPing(session, this.#silenceMs, () => this.#probed.delete(session));
  }

  /** Asks the other end for a sign of life; a connection that gives none in time is ended. `answered` follows a sign. */
  #expectPing(session: ClientHttp2Session, timeoutMs: number, answered: () => void): void {
    // Between its end and its "close", a session throws at whoever still uses it.
    if (session.destroyed) return;
    let isAnswered = false;
    const giveUp = (): void => {
      if (isAnswered || session.destroyed) return;
      // Before its calls learn of it, and connect anew.
      this.#addresses.failed(session.socket.remoteAddress);
      session.destroy();
    };
    // When it was this process that had no time, the answer waits in the socket, which is read before immediates run.
    const timeout = setTimeout(() => setImmediate(giveUp), timeoutMs).unref();
    session.ping(() => {
      isAnswered = true;
      clearTimeout(timeout);
      answered();
    });
  }

  /** A connection whose other end fell silent is ended, so that its calls fail instead of waiting for ever. */
  #watchLiveness(session: ClientHttp2Session): void {
    const interval = setInterval(() => this.#expectPing(session, pingTimeoutMs, () => {}), pingIntervalMs).unref();
    // An error of the session reaches every stream on it; here it only must not go unheard.
    session.on("error", () => session.destroy());
    session.on("goaway", () => session.close());
    session.on("close", () => {
      clearInterval(interval);
      if (this.#session === session) this.#session = undefined;
    });
  }
}

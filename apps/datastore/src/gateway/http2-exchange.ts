import { headerField, statusField } from "../http2/header-block.ts";
import type { RequestHeaders } from "../http2/request-headers.ts";
import type { Http2Stream } from "../http2/stream.ts";
import type { ExchangeListener, HttpExchange } from "./http-exchange.ts";

const noTrailers = Buffer.alloc(0);

/** A stream of an HTTP/2 connection that carries no gRPC. */
export class Http2Exchange implements HttpExchange {
  readonly #stream: Http2Stream;
  readonly #headers: RequestHeaders;
  #listener: ExchangeListener | undefined;
  #closed = false;
  headSent = false;
  ended = false;

  constructor(stream: Http2Stream, headers: RequestHeaders) {
    this.#stream = stream;
    this.#headers = headers;
    stream.listener = {
      onData: (bytes) => {
        if (!this.ended) this.#listener?.onData(bytes);
      },
      onEnd: () => {
        if (!this.ended) this.#listener?.onEnd();
      },
      onDrain: () => this.#listener?.onDrain?.(),
      onAbort: () => this.#close(false),
    };
  }

  get method(): string {
    return this.#headers.method;
  }

  get target(): string {
    return this.#headers.path;
  }

  get authority(): string {
    return this.#headers.authority;
  }

  get authorization(): string | undefined {
    return this.#headers.authorization;
  }

  listen(listener: ExchangeListener): void {
    this.#listener = listener;
  }

  sendHead(status: number, headers: Record<string, string>): void {
    if (this.headSent || this.ended) return;
    this.headSent = true;
    const fields = Object.entries(headers).map(([name, value]) => headerField(name, value));
    this.#stream.sendHeaders(Buffer.concat([statusField(status), ...fields]));
  }

  write(text: string): void {
    if (!this.ended && this.method !== "HEAD") this.#stream.sendData(Buffer.from(text));
  }

  end(text = ""): void {
    if (this.ended) return;
    if (text !== "") this.write(text);
    this.ended = true;
    this.#stream.end(noTrailers);
    // Later, because whoever opens a stream and ends it at once has no listener to call yet.
    queueMicrotask(() => this.#close(true));
  }

  get pendingBytes(): number {
    return this.#stream.pendingBytes;
  }

  destroy(): void {
    this.end();
  }

  #close(answered: boolean): void {
    this.ended = true;
    if (this.#closed) return;
    this.#closed = true;
    this.#listener?.onClosed(answered);
  }
}

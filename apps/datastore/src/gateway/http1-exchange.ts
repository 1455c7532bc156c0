import type { IncomingMessage, ServerResponse } from "node:http";
import type { ExchangeListener, HttpExchange } from "./http-exchange.ts";

export class Http1Exchange implements HttpExchange {
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(request: IncomingMessage, response: ServerResponse) {
    this.#request = request;
    this.#response = response;
  }

  get method(): string {
    return this.#request.method ?? "";
  }

  get target(): string {
    return this.#request.url ?? "/";
  }

  get authority(): string {
    return this.#request.headers.host ?? "";
  }

  get authorization(): string | undefined {
    return this.#request.headers.authorization;
  }

  listen(listener: ExchangeListener): void {
    this.#request.on("data", (bytes: Buffer) => listener.onData(bytes));
    this.#request.on("end", () => listener.onEnd());
    this.#response.on("drain", () => listener.onDrain?.());
    this.#response.on("close", () => listener.onClosed(this.#response.writableFinished));
  }

  sendHead(status: number, headers: Record<string, string>): void {
    this.#response.writeHead(status, headers);
  }

  get headSent(): boolean {
    return this.#response.headersSent;
  }

  write(text: string): void {
    this.#response.write(text);
  }

  end(text?: string): void {
    this.#response.end(text);
  }

  get ended(): boolean {
    return this.#response.writableEnded || this.#response.destroyed;
  }

  get pendingBytes(): number {
    return this.#response.writableLength;
  }

  destroy(): void {
    this.#response.destroy();
  }
}

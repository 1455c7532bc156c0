import type { ClientRequest, IncomingMessage } from "node:http";
import type { Clock, Timer } from "@keelson/service";

/**
 * The body of a request on its way to the upstream: streamed as the upstream takes it, never held, counted against a
 * limit, and given up when the client stops sending.
 */
export class RequestBody {
  readonly #req: IncomingMessage;
  readonly #limitBytes: number;
  readonly #idleTimeoutMs: number;
  readonly #clock: Clock;
  #idle: Timer | undefined;
  #stopped = false;

  constructor(req: IncomingMessage, limitBytes: number, idleTimeoutMs: number, clock: Clock) {
    this.#req = req;
    this.#limitBytes = limitBytes;
    this.#idleTimeoutMs = idleTimeoutMs;
    this.#clock = clock;
  }

  /** Whether the announced length alone is too much, so that no upstream need be bothered. */
  get tooLarge(): boolean {
    return Number(this.#req.headers["content-length"] ?? 0) > this.#limitBytes;
  }

  /** Streams the body; `refuse` is called at most once, with the status for the client. */
  send(outgoing: ClientRequest, refuse: (code: number, message: string) => void): void {
    const req = this.#req;
    let size = 0;
    const give = (code: number, message: string): void => {
      if (this.#stopped) return;
      this.stop();
      refuse(code, message);
    };
    const waitForMore = (): void => {
      this.#idle?.cancel();
      this.#idle = this.#clock.setTimeout(() => give(408, "request body stopped arriving"), this.#idleTimeoutMs);
    };
    req.on("data", (chunk: Buffer) => {
      if (this.#stopped) return;
      size += chunk.length;
      if (size > this.#limitBytes) return give(413, tooLargeText(this.#limitBytes));
      if (outgoing.write(chunk)) return waitForMore();
      this.#idle?.cancel();
      req.pause();
      outgoing.once("drain", () => {
        waitForMore();
        req.resume();
      });
    });
    req.once("end", () => {
      this.#idle?.cancel();
      if (this.#stopped) return;
      if (Object.keys(req.trailers).length > 0) outgoing.addTrailers(req.trailers as Record<string, string>);
      outgoing.end();
    });
    waitForMore();
  }

  /** Forwards no more; what still arrives is dropped. */
  stop(): void {
    this.#stopped = true;
    this.#idle?.cancel();
  }
}

/** kube-apiserver's words. */
export function tooLargeText(limitBytes: number): string {
  return `Request entity too large: limit is ${limitBytes}`;
}

import type { Capabilities } from "./capabilities.ts";
import type { DialError, TunnelProtocolError } from "./errors.ts";
import type { ConnectTarget } from "./frame.ts";

/** How a stream ended: `end` is the orderly one. */
export type StreamEnd =
  | { kind: "end" }
  | { kind: "error"; message: string }
  | { kind: "dial-failed"; error: DialError };

/** What the multiplexer tells its session; all calls are synchronous and may call back into it. */
export interface MultiplexerEffects {
  /** The peer asks for a connection. Data may follow at once; answer with `accept` or `refuse`. */
  connect(id: number, target: ConnectTarget): void;
  /** The peer acknowledged the dial (or does not do so: then right after `open`). */
  opened(id: number): void;
  data(id: number, piece: Buffer): void;
  /** The peer sends no more on this stream; we still may. */
  ended(id: number): void;
  /** The stream is gone, after everything it delivered. */
  closed(id: number, end: StreamEnd): void;
  /** Less than 64 KiB wait: a writer that was told to stop may go on. */
  writable(id: number): void;
  /** The peer asked for no more streams. */
  draining(): void;
  probeReply(nonce: Buffer): void;
  /** Something is ready to be sent: call `next` until it returns undefined. */
  readyToSend(): void;
  /**
   * The peer leaves too many of our answers unread: the session must end, after this call. It is no exception, as our own
   * calls and the timer lead here as well as the peer's frames, and nobody there could tell whose fault it is.
   */
  overloaded(error: TunnelProtocolError): void;
}

export interface MultiplexerOptions {
  capabilities?: Capabilities;
  /** `<clientKey>/<sessionKey>`, for the reply to Data on unknown ids; agents say `client/0`. */
  sessionName: string;
  /** Whether the peer may open streams (true on agents). */
  acceptsConnect: boolean;
  /** Milliseconds, monotonic. */
  now: () => number;
  effects: MultiplexerEffects;
}

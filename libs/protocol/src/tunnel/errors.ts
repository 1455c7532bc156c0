/** The peer broke the tunnel protocol: its session ends, nothing else does. */
export class TunnelProtocolError extends Error {
  /** WebSocket close code to answer with. */
  readonly closeCode: number;

  constructor(message: string, closeCode = 1002) {
    super(message);
    this.name = "TunnelProtocolError";
    this.closeCode = closeCode;
  }
}

/** Why a dial failed, as DialAck carries it: one word, so that a server can choose between 502, 503 and 504. */
export type DialFailure = "refused" | "timeout" | "unreachable" | "forbidden" | "failed";

const dialFailures: readonly string[] = ["refused", "timeout", "unreachable", "forbidden", "failed"];

/** The other end, or what it should have dialled, said no. `message` is the peer's text. */
export class DialError extends Error {
  readonly failure: DialFailure;

  constructor(failure: DialFailure, message: string) {
    super(message);
    this.name = "DialError";
    this.failure = failure;
  }
}

export function isDialFailure(text: string): text is DialFailure {
  return dialFailures.includes(text);
}

/** A stream ended other than with `EOF`; the message is what the other end said. */
export class TunnelStreamError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "TunnelStreamError";
  }
}

/** The text with which every stream ends when its session is lost. */
export const tunnelDisconnect = "tunnel disconnect";

/** The text of an orderly end of a stream. */
export const cleanEnd = "EOF";

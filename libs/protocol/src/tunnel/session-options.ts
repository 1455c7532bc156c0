import type { Duplex } from "node:stream";
import type { Capabilities, SessionEpoch } from "./capabilities.ts";
import type { ConnectTarget } from "./frame.ts";
import type { TunnelStream } from "./tunnel-stream.ts";
import type { WebSocketRole } from "./websocket.ts";

/** The part of a clock a session needs; `Clock` of @keelson/service fits. */
export interface SessionClock {
  monotonic(): number;
  setInterval(fn: () => void, periodMs: number): { cancel(): void };
  setTimeout(fn: () => void, delayMs: number): { cancel(): void };
}

export interface TunnelSessionOptions {
  /** Which end of the WebSocket we are: the agent is the client. */
  role: WebSocketRole;
  /** The connection, behind its handshake. */
  transport: Duplex;
  /** Bytes that came with the handshake. */
  head?: Buffer;
  /** What both ends can (none with Go peers). */
  capabilities?: Capabilities;
  /** `<clientKey>/<sessionKey>`; an agent says `client/0`. */
  sessionName: string;
  /** The peer's epoch, when it sent one. */
  epoch?: SessionEpoch;
  clock: SessionClock;
  /** Called for each stream the peer opens; answer with `accept` or `refuse`. Left out, every Connect is refused. */
  onConnect?: (stream: TunnelStream, target: ConnectTarget) => void;
  /** The first answer to a ping or probe: the path works in both directions. */
  onProven?: () => void;
  /** The peer wants no more streams. */
  onDraining?: () => void;
  /** The session is over; called once. */
  onClosed?: (reason: SessionEnd) => void;
}

export interface SessionEnd {
  /** `lost`: the connection broke or went silent; `protocol`: the peer broke the rules; `local`: we closed it. */
  kind: "lost" | "protocol" | "local" | "peer";
  message: string;
  /** An error of our own that ended it: a fault of this program, to be logged. */
  cause?: unknown;
}

/** Counters of one session; they only grow, except the gauges. */
export interface SessionStats {
  bytesIn: number;
  bytesOut: number;
  streams: number;
  pausedStreams: number;
  queuedBytes: number;
  /** Last round trip of a ping, in milliseconds. */
  roundTripMs: number | undefined;
  /** Milliseconds since anything arrived. */
  silentMs: number;
}

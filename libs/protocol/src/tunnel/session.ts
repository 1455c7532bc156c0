import type { Duplex } from "node:stream";
import { anyCapability, type Capabilities, noCapabilities, type SessionEpoch } from "./capabilities.ts";
import { DialError, type DialFailure, TunnelProtocolError, tunnelDisconnect } from "./errors.ts";
import { type ConnectTarget, encodeSyncedIds, maxHeaderLength, writeHeader } from "./frame.ts";
import { MessageReader } from "./message-reader.ts";
import { Multiplexer, type MultiplexerEffects, type StreamEnd } from "./multiplexer.ts";
import type { OutgoingFrame } from "./send-queue.ts";
import { TunnelStream } from "./tunnel-stream.ts";
import {
  maxWebSocketHeader,
  opcodes,
  randomMaskKey,
  unmask,
  WebSocketReader,
  type WebSocketRole,
  writeWebSocketHeader,
} from "./websocket.ts";

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

/** Pings of both ends. Go clients ping too, their servers only answer; either moves the peer's deadline. */
export const pingIntervalMs = 5_000;
/** Silence after which a Keelson peer is dead. It pings every 5 s, so this is three of its pings. */
export const keelsonDeadlineMs = 15_000;
/** Silence after which any other peer is dead, as remotedialer has it. */
export const legacyDeadlineMs = 60_000;
/** SyncConnections towards servers without capabilities, as remotedialer's agents do. */
const syncIntervalMs = 60_000;
const syncQuietMs = 2_000;
/** Bytes handed to the socket ahead of the wire; what comes later can still overtake. */
const transportHighMark = 128 * 1024;
/** How long our Close frame may wait to be sent. */
const closeTimeoutMs = 100;

/**
 * One tunnel over one WebSocket connection: framing, liveness and the pump between the multiplexer and the socket. All
 * reads go straight to the streams; writes are pulled from the multiplexer only while the socket keeps up, so the order is
 * decided as late as possible.
 */
export class TunnelSession {
  readonly capabilities: Capabilities;
  readonly epoch: SessionEpoch | undefined;
  readonly #options: TunnelSessionOptions;
  readonly #transport: Duplex;
  readonly #clock: SessionClock;
  readonly #mux: Multiplexer;
  readonly #streams = new Map<number, TunnelStream>();
  readonly #masking: "none" | "zero" | "random";
  readonly #deadlineMs: number;
  readonly #timer: { cancel(): void };
  #messageId = 0;
  #flushPlanned = false;
  #waitsForDrain = false;
  #over = false;
  #proven = false;
  #bytesIn = 0;
  #bytesOut = 0;
  #lastReceivedMs: number;
  #pingSentMs: number | undefined;
  #lastPingMs: number;
  #lastSyncMs: number;
  #roundTripMs: number | undefined;

  constructor(options: TunnelSessionOptions) {
    this.#options = options;
    this.#transport = options.transport;
    this.#clock = options.clock;
    this.epoch = options.epoch;
    this.capabilities = options.capabilities ?? noCapabilities;
    const keelson = anyCapability(this.capabilities);
    this.#deadlineMs = keelson ? keelsonDeadlineMs : legacyDeadlineMs;
    this.#masking = options.role === "server" ? "none" : keelson ? "zero" : "random";
    this.#mux = new Multiplexer({
      capabilities: this.capabilities,
      sessionName: options.sessionName,
      acceptsConnect: options.onConnect !== undefined,
      now: () => this.#clock.monotonic(),
      effects: this.#effects(),
    });
    const now = this.#clock.monotonic();
    this.#lastReceivedMs = now;
    this.#lastPingMs = now;
    this.#lastSyncMs = now;
    this.#timer = this.#clock.setInterval(() => this.#tick(), 1_000);
    this.#read(options.role);
  }

  /** Whether an answer has shown that the path works in both directions. */
  get proven(): boolean {
    return this.#proven;
  }

  get closed(): boolean {
    return this.#over;
  }

  /** Whether new streams may be opened here. */
  get draining(): boolean {
    return this.#mux.draining;
  }

  get stats(): SessionStats {
    return {
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
      streams: this.#mux.streamCount,
      pausedStreams: this.#mux.pausedCount,
      queuedBytes: this.#mux.queuedBytes,
      roundTripMs: this.#roundTripMs,
      silentMs: this.#clock.monotonic() - this.#lastReceivedMs,
    };
  }

  get streamCount(): number {
    return this.#mux.streamCount;
  }

  /** Opens a stream; it is usable at once. `stream.opened` tells whether the other end reached the target. */
  open(protocol: string, address: string): TunnelStream {
    if (this.#over) throw new DialError("unreachable", tunnelDisconnect);
    const id = this.#mux.open(protocol, address);
    return this.#track(id, !this.capabilities.ack);
  }

  /** Answers a Connect: the target is there. */
  accept(stream: TunnelStream): void {
    this.#mux.accept(stream.id);
    stream.markOpened();
  }

  /** Answers a Connect: the target cannot or must not be reached. Only this stream ends. */
  refuse(stream: TunnelStream, failure: DialFailure, text: string): void {
    this.#mux.refuse(stream.id, failure, text);
    this.#forget(stream.id, { kind: "dial-failed", error: new DialError(failure, text) });
  }

  /** Sends a ping now; its answer proves the path. */
  ping(): void {
    if (this.#over || this.#pingSentMs !== undefined) return;
    this.#pingSentMs = this.#clock.monotonic();
    this.#lastPingMs = this.#pingSentMs;
    this.#writeControl(opcodes.ping, Buffer.alloc(0));
  }

  /** Tells the peer to open no more streams; those that are open go on. */
  drain(): void {
    if (!this.#over) this.#mux.drain();
  }

  /** Closes the session: Close frame, then the socket. */
  close(message: string, code = 1001): void {
    this.#end({ kind: "local", message }, code);
  }

  // ---- reading ------------------------------------------------------------------------------------------------------

  #read(role: WebSocketRole): void {
    const messages = new MessageReader({
      data: (id, piece, first) => this.#mux.receiveData(id, piece, first),
      control: (type, id, payload) => this.#mux.receive(type, id, payload),
    });
    const reader = new WebSocketReader(role, {
      payload: (piece, last) => messages.push(piece, last),
      ping: (payload) => this.#writeControl(opcodes.pong, payload),
      pong: () => this.#onPong(),
      close: (code, reason) => this.#onPeerClose(code, reason),
    });
    const onChunk = (chunk: Buffer): void => {
      if (this.#over) return;
      this.#bytesIn += chunk.length;
      this.#lastReceivedMs = this.#clock.monotonic();
      try {
        reader.push(chunk);
      } catch (error) {
        if (!(error instanceof TunnelProtocolError)) throw error;
        this.#end({ kind: "protocol", message: error.message }, error.closeCode);
      }
    };
    const transport = this.#transport;
    transport.on("data", onChunk);
    transport.on("drain", () => {
      this.#waitsForDrain = false;
      this.#flush();
    });
    transport.on("error", (error) => this.#end({ kind: "lost", message: error.message }));
    transport.on("end", () => this.#end({ kind: "lost", message: "the other end closed the connection" }));
    transport.on("close", () => this.#end({ kind: "lost", message: "connection closed" }));
    disableNagle(transport);
    const { head } = this.#options;
    if (head !== undefined && head.length > 0) queueMicrotask(() => onChunk(head));
  }

  #onPong(): void {
    if (this.#pingSentMs !== undefined) {
      this.#roundTripMs = this.#clock.monotonic() - this.#pingSentMs;
      this.#pingSentMs = undefined;
    }
    this.#prove();
  }

  #prove(): void {
    if (this.#proven) return;
    this.#proven = true;
    this.#options.onProven?.();
  }

  #onPeerClose(code: number, reason: string): void {
    this.#end({ kind: "peer", message: reason === "" ? `closed by the other end (${code})` : reason }, 1000);
  }

  // ---- writing ------------------------------------------------------------------------------------------------------

  #planFlush(): void {
    if (this.#flushPlanned || this.#waitsForDrain) return;
    this.#flushPlanned = true;
    queueMicrotask(() => {
      this.#flushPlanned = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#over || this.#waitsForDrain) return;
    const transport = this.#transport;
    transport.cork();
    let room = true;
    while (room) {
      const frame = this.#mux.next();
      if (frame === undefined) break;
      this.#writeFrame(frame);
      room = transport.writableLength < transportHighMark;
    }
    transport.uncork();
    if (transport.writableNeedDrain) this.#waitsForDrain = true;
    else if (!room) this.#planFlush();
  }

  #writeFrame(frame: OutgoingFrame): void {
    const header = Buffer.allocUnsafe(maxWebSocketHeader + maxHeaderLength);
    // The tunnel header first, to know the length of the message; it is moved behind the WebSocket header.
    const tunnelLength = writeHeader(header, maxWebSocketHeader, ++this.#messageId, frame.connectionId, frame.type);
    const tunnelHeader = header.subarray(maxWebSocketHeader, tunnelLength);
    const length = tunnelHeader.length + frame.length;
    const maskKey = this.#masking === "none" ? undefined : this.#masking === "zero" ? 0 : randomMaskKey();
    const start = maxWebSocketHeader - webSocketHeaderLength(length, maskKey !== undefined);
    writeWebSocketHeader(header, start, opcodes.binary, length, maskKey);
    this.#bytesOut += length + maxWebSocketHeader - start;
    if (maskKey === undefined || maskKey === 0) {
      this.#transport.write(header.subarray(start, tunnelLength));
      for (const piece of frame.pieces) this.#transport.write(piece);
      return;
    }
    const whole = Buffer.concat([header.subarray(start, tunnelLength), ...frame.pieces]);
    unmask(whole.subarray(maxWebSocketHeader - start), maskKey, 0);
    this.#transport.write(whole);
  }

  /** Ping, pong and close do not wait for the queue. */
  #writeControl(opcode: number, payload: Buffer): void {
    if (this.#transport.destroyed || this.#transport.writableEnded) return;
    const maskKey = this.#masking === "none" ? undefined : this.#masking === "zero" ? 0 : randomMaskKey();
    const frame = Buffer.alloc(maxWebSocketHeader + payload.length);
    const at = writeWebSocketHeader(frame, 0, opcode, payload.length, maskKey);
    payload.copy(frame, at);
    if (maskKey !== undefined && maskKey !== 0) unmask(frame.subarray(at, at + payload.length), maskKey, 0);
    this.#bytesOut += at + payload.length;
    this.#transport.write(frame.subarray(0, at + payload.length));
  }

  // ---- streams ------------------------------------------------------------------------------------------------------

  #effects(): MultiplexerEffects {
    return {
      connect: (id, target) => {
        const stream = this.#track(id, false);
        stream.on("error", ignore);
        this.#options.onConnect!(stream, target);
      },
      opened: (id) => this.#streams.get(id)?.markOpened(),
      data: (id, piece) => this.#streams.get(id)?.receive(piece),
      ended: (id) => this.#streams.get(id)?.receiveEnd(),
      closed: (id, end) => this.#forget(id, end),
      writable: (id) => this.#streams.get(id)?.markWritable(),
      draining: () => this.#options.onDraining?.(),
      probeReply: () => this.#prove(),
      readyToSend: () => this.#planFlush(),
    };
  }

  #track(id: number, opened: boolean): TunnelStream {
    const stream = new TunnelStream(id, this.#mux, this.#streams, opened);
    this.#streams.set(id, stream);
    return stream;
  }

  #forget(id: number, end: StreamEnd): void {
    const stream = this.#streams.get(id);
    this.#streams.delete(id);
    stream?.receiveClose(end);
  }

  // ---- life ---------------------------------------------------------------------------------------------------------

  #tick(): void {
    if (this.#over) return;
    const now = this.#clock.monotonic();
    if (now - this.#lastReceivedMs >= this.#deadlineMs) {
      const seconds = Math.round((now - this.#lastReceivedMs) / 1_000);
      return void this.#end({ kind: "lost", message: `nothing heard for ${seconds} s` });
    }
    if (now - this.#lastPingMs >= pingIntervalMs - 1) {
      this.#pingSentMs = undefined; // an unanswered ping is judged by the deadline alone
      this.ping();
    }
    if (this.#options.role === "client" && !anyCapability(this.capabilities)) this.#syncIfQuiet(now);
    this.#mux.tick();
  }

  #syncIfQuiet(now: number): void {
    if (now - this.#lastSyncMs < syncIntervalMs || now - this.#mux.lastConnectAtMs < syncQuietMs) return;
    this.#lastSyncMs = now;
    this.#mux.sync(encodeSyncedIds(this.#mux.streamIds));
  }

  #end(reason: SessionEnd, closeCode?: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer.cancel();
    if (closeCode !== undefined) this.#closeTransport(closeCode, reason.message);
    else this.#transport.destroy();
    this.#mux.disconnect(tunnelDisconnect);
    this.#options.onClosed?.(reason);
  }

  #closeTransport(code: number, message: string): void {
    const text = Buffer.from(message).subarray(0, 123);
    const payload = Buffer.allocUnsafe(2 + text.length);
    payload.writeUInt16BE(code, 0);
    text.copy(payload, 2);
    this.#writeControl(opcodes.close, payload);
    const timer = this.#clock.setTimeout(() => this.#transport.destroy(), closeTimeoutMs);
    this.#transport.end(() => {
      timer.cancel();
      this.#transport.destroy();
    });
  }
}

function webSocketHeaderLength(length: number, masked: boolean): number {
  return 2 + (length < 126 ? 0 : length < 65_536 ? 2 : 8) + (masked ? 4 : 0);
}

/** How a stream ends is up to the peer, which must never end this process by it; the close event tells its owner. */
function ignore(): void {}

/** Sockets hold small writes back by default; other transports have nothing to turn off. */
function disableNagle(transport: Duplex): void {
  if ("setNoDelay" in transport && typeof transport.setNoDelay === "function") transport.setNoDelay(true);
}

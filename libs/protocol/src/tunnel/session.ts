import type { Duplex } from "node:stream";
import { anyCapability, type Capabilities, noCapabilities, type SessionEpoch } from "./capabilities.ts";
import { DialError, type DialFailure, TunnelProtocolError, tunnelDisconnect } from "./errors.ts";
import { FrameWriter } from "./frame-writer.ts";
import { keelsonDeadlineMs, Liveness, legacyDeadlineMs } from "./liveness.ts";
import { MessageReader } from "./message-reader.ts";
import { Multiplexer } from "./multiplexer.ts";
import type { MultiplexerEffects, StreamEnd } from "./multiplexer-options.ts";
import type { SessionClock, SessionEnd, SessionStats, TunnelSessionOptions } from "./session-options.ts";
import { TunnelStream } from "./tunnel-stream.ts";
import { opcodes, WebSocketReader, type WebSocketRole } from "./websocket.ts";

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
  readonly #writer: FrameWriter;
  readonly #liveness: Liveness;
  readonly #timer: { cancel(): void };
  #flushPlanned = false;
  #waitsForDrain = false;
  #over = false;
  #proven = false;
  #bytesIn = 0;

  constructor(options: TunnelSessionOptions) {
    this.#options = options;
    this.#transport = options.transport;
    this.#clock = options.clock;
    this.epoch = options.epoch;
    this.capabilities = options.capabilities ?? noCapabilities;
    const now = this.#clock.monotonic();
    const peerIsKeelson = anyCapability(this.capabilities);
    this.#liveness = new Liveness(peerIsKeelson ? keelsonDeadlineMs : legacyDeadlineMs, now);
    this.#writer = new FrameWriter(options.transport, options.role, peerIsKeelson);
    this.#mux = new Multiplexer({
      capabilities: this.capabilities,
      sessionName: options.sessionName,
      acceptsConnect: options.onConnect !== undefined,
      now: () => this.#clock.monotonic(),
      effects: this.#effects(),
    });
    this.#timer = this.#clock.setInterval(() => this.#guard(() => this.#tick()), 1_000);
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
      bytesOut: this.#writer.bytesOut,
      streams: this.#mux.streamCount,
      pausedStreams: this.#mux.pausedCount,
      queuedBytes: this.#mux.queuedBytes,
      roundTripMs: this.#liveness.roundTripMs,
      silentMs: this.#liveness.silentMs(this.#clock.monotonic()),
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
    if (!this.#over && !this.#liveness.awaitsPong) this.#sendPing();
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
      ping: (payload) => {
        this.#writer.owePong(payload);
        this.#planFlush();
      },
      pong: () => this.#onPong(),
      close: (code, reason) => this.#onPeerClose(code, reason),
    });
    const onChunk = (chunk: Buffer): void => {
      if (this.#over) return;
      this.#bytesIn += chunk.length;
      this.#liveness.heard(this.#clock.monotonic());
      this.#guard(() => reader.push(chunk));
    };
    const transport = this.#transport;
    transport.on("data", onChunk);
    transport.on("drain", () => {
      this.#waitsForDrain = false;
      this.#guard(() => this.#flush());
    });
    transport.on("error", (error) => this.#end({ kind: "lost", message: error.message }));
    transport.on("end", () => this.#end({ kind: "lost", message: "the other end closed the connection" }));
    transport.on("close", () => this.#end({ kind: "lost", message: "connection closed" }));
    // What is over already says so no more. The owner may not have our reference yet: the end comes after this call.
    if (transport.destroyed || transport.readableEnded) {
      queueMicrotask(() => this.#end({ kind: "lost", message: "connection closed" }));
    }
    const { head } = this.#options;
    if (head !== undefined && head.length > 0) queueMicrotask(() => onChunk(head));
  }

  #onPong(): void {
    this.#liveness.ponged(this.#clock.monotonic());
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
      this.#guard(() => this.#flush());
    });
  }

  #flush(): void {
    if (this.#over || this.#waitsForDrain) return;
    const transport = this.#transport;
    transport.cork();
    this.#writer.payPong();
    let room = true;
    while (room) {
      const frame = this.#mux.next();
      if (frame === undefined) break;
      this.#writer.tunnelFrame(frame);
      room = transport.writableLength < transportHighMark;
    }
    transport.uncork();
    if (transport.writableNeedDrain) this.#waitsForDrain = true;
    else if (!room) this.#planFlush();
  }

  #sendPing(): void {
    this.#liveness.pinged(this.#clock.monotonic());
    this.#writer.controlFrame(opcodes.ping, Buffer.alloc(0));
  }

  // ---- streams ------------------------------------------------------------------------------------------------------

  #effects(): MultiplexerEffects {
    return {
      connect: (id, target) => {
        const stream = this.#track(id, false);
        // How a stream ends is up to the peer, which must never end this process by it; the close event tells its owner.
        stream.on("error", () => {});
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
      // Later: streams may be in the middle of a step.
      overloaded: (error) => queueMicrotask(() => this.#fail(error)),
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
    if (this.#liveness.isDead(now)) {
      const message = `nothing heard for ${Math.round(this.#liveness.silentMs(now) / 1_000)} s`;
      return void this.#end({ kind: "lost", message });
    }
    if (this.#liveness.isPingDue(now)) this.#sendPing();
    if (this.#options.role === "client" && !anyCapability(this.capabilities)) this.#mux.syncIfQuiet();
    this.#mux.tick();
  }

  /** One step of the session. What goes wrong in it ends this session: in a timer or a microtask it would end the process. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (error instanceof TunnelProtocolError) {
      this.#end({ kind: "protocol", message: error.message }, error.closeCode);
    } else {
      const message = `internal error: ${error instanceof Error ? error.message : error}`;
      this.#end({ kind: "local", message, cause: error }, 1011);
    }
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
    this.#writer.closeFrame(code, message);
    const timer = this.#clock.setTimeout(() => this.#transport.destroy(), closeTimeoutMs);
    this.#transport.end(() => {
      timer.cancel();
      this.#transport.destroy();
    });
  }
}

import { type Capabilities, noCapabilities } from "./capabilities.ts";
import { cleanEnd, DialError, type DialFailure, isDialFailure, TunnelProtocolError } from "./errors.ts";
import { CreditFlow, type FlowSignal, PauseFlow } from "./flow-control.ts";
import {
  type ConnectTarget,
  frameTypes,
  parseClientAnnouncement,
  parseConnectTarget,
  parseSyncedIds,
  payloadLimits,
} from "./frame.ts";
import { type OutgoingFrame, SendQueue } from "./send-queue.ts";
import { errorFrame, type StreamRole, StreamState, writeLowMark } from "./stream-state.ts";
import { readVarint, writeVarint } from "./varint.ts";

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

const noPayload: readonly Buffer[] = [];
/** A Sync lists nothing newer than this, whatever the round trip. */
const syncGraceMs = 10_000;
/** How long a legacy peer may stay silent after our reader's side is done, before the stream is closed. */
const lingerMs = 10_000;
/** Control frames that a peer may make us queue without reading them. */
const maxControlBytes = 4 * 1024 * 1024;
const maxStreams = 65_536;

/**
 * All streams of one tunnel session as a state machine without I/O: frames in, frames out, effects. The rules are those of
 * remotedialer (an id is removed before its Error is echoed; Error for an unknown id is ignored; what was delivered comes
 * before the end; exactly `EOF` is orderly; no Data after an Error), with the agreed extensions on top.
 */
export class Multiplexer {
  readonly capabilities: Capabilities;
  readonly #options: MultiplexerOptions;
  readonly #effects: MultiplexerEffects;
  readonly #streams = new Map<number, StreamState>();
  /** Streams that time alone can change. */
  readonly #watched = new Set<StreamState>();
  readonly #queue = new SendQueue();
  #lastId = 1;
  #previousSyncAtMs: number | undefined;
  #lastConnectAtMs = Number.NEGATIVE_INFINITY;
  #draining = false;

  constructor(options: MultiplexerOptions) {
    this.#options = options;
    this.#effects = options.effects;
    this.capabilities = options.capabilities ?? noCapabilities;
  }

  get streamCount(): number {
    return this.#streams.size;
  }

  get streamIds(): Iterable<number> {
    return this.#streams.keys();
  }

  /** The peer wants no new streams, or we told it so. */
  get draining(): boolean {
    return this.#draining;
  }

  /** When the peer last opened a stream (milliseconds); a Sync must not race with it. */
  get lastConnectAtMs(): number {
    return this.#lastConnectAtMs;
  }

  /** Streams that may not send now because of the peer. */
  get pausedCount(): number {
    let count = 0;
    for (const stream of this.#streams.values()) if (stream.flow.paused) count++;
    return count;
  }

  /** Bytes queued over all streams. */
  get queuedBytes(): number {
    let bytes = this.#queue.controlBytes;
    for (const stream of this.#streams.values()) bytes += stream.queuedBytes;
    return bytes;
  }

  // ---- what our side does -------------------------------------------------------------------------------------------

  /** Opens a stream to `<protocol>/<address>` (at most 266 bytes); Data may be written at once. */
  open(protocol: string, address: string): number {
    const payload = Buffer.from(`${protocol}/${address}`);
    if (payload.length > payloadLimits[frameTypes.connect]!) {
      throw new DialError("failed", `address is too long for a tunnel: ${payload.length} bytes`);
    }
    const id = ++this.#lastId;
    const stream = this.#add(id, "opener", payload);
    stream.opened = !this.capabilities.ack;
    this.#schedule(stream);
    return id;
  }

  /** The dial of a stream that the peer asked for succeeded. */
  accept(id: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.opened) return;
    stream.opened = true;
    if (this.capabilities.ack) this.#control(frameTypes.dialAck, id);
  }

  /** The dial of a stream that the peer asked for failed, or is not allowed; only this stream ends. */
  refuse(id: number, failure: DialFailure, text: string): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#remove(stream);
    if (this.capabilities.ack) this.#control(frameTypes.dialAck, id, Buffer.from(`${failure} ${text}`));
    else this.#controlFrame(errorFrame(id, text));
  }

  /** Queues bytes; false asks the writer to wait for `writable`. The buffer must not be changed afterwards. */
  write(id: number, piece: Buffer): boolean {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.writeEnded) return true;
    stream.push(piece);
    this.#schedule(stream);
    if (stream.queuedBytes < writeLowMark) return true;
    stream.writerWaits = true;
    return false;
  }

  /** The reader took bytes: gives the sender room again. */
  consumed(id: number, bytes: number): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || bytes === 0) return;
    this.#signal(stream, stream.flow.consumed(bytes, this.#options.now()));
  }

  /**
   * We write no more. With half-close the other direction goes on. Without it the protocol has only Error, which ends both:
   * whoever dialled sends it now (its target is done), the opener waits for the other direction first. False when the end still
   * waits for its turn: `writable` or `closed` follows.
   */
  endWrite(id: number): boolean {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.writeEnded) return true;
    stream.writeEnded = true;
    if (this.capabilities.halfclose) {
      stream.endAfterData();
    } else if (stream.role === "dialler") {
      stream.closeAfterData(cleanEnd);
    } else {
      stream.lingerSinceMs = this.#options.now();
      this.#watched.add(stream);
      return true;
    }
    this.#schedule(stream);
    return false;
  }

  /** Ends a stream at once in both directions; what is queued is dropped, the peer is told. */
  close(id: number, text: string = cleanEnd): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const unannounced = stream.unannounced;
    this.#remove(stream);
    if (!unannounced) this.#controlFrame(errorFrame(id, text));
  }

  /** Tells the peer to open no more streams here. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    if (this.capabilities.drain) this.#control(frameTypes.drain, 0);
  }

  probe(nonce: Buffer): void {
    this.#control(frameTypes.probe, 0, nonce);
  }

  sync(payload: Buffer): void {
    this.#control(frameTypes.syncConnections, 0, payload);
  }

  /** The session is lost: every stream ends. */
  disconnect(message: string): void {
    for (const stream of [...this.#streams.values()]) this.#finish(stream, { kind: "error", message });
  }

  /** The next frame to put on the wire. */
  next(): OutgoingFrame | undefined {
    const frame = this.#queue.next();
    if (frame === undefined || frame.connectionId === 0) return frame;
    if (frame.type === frameTypes.data) {
      const stream = this.#streams.get(frame.connectionId);
      if (stream?.writerWaits && stream.queuedBytes < writeLowMark) {
        stream.writerWaits = false;
        this.#effects.writable(stream.id);
      }
    } else if (frame.type === frameTypes.endWrite || frame.type === frameTypes.error) {
      const stream = this.#streams.get(frame.connectionId);
      if (stream === undefined) return frame;
      if (frame.type === frameTypes.error || stream.remoteEnded) this.#finish(stream, { kind: "end" });
      else this.#effects.writable(stream.id);
    }
    return frame;
  }

  /** To be called about once a second. */
  tick(): void {
    const now = this.#options.now();
    for (const stream of this.#watched) {
      this.#signal(stream, stream.flow.tick(now));
      if (stream.lingerSinceMs !== undefined && now - stream.lingerSinceMs >= lingerMs && stream.queuedBytes === 0) {
        this.close(stream.id);
        this.#effects.closed(stream.id, { kind: "end" });
      } else if (stream.lingerSinceMs === undefined && !stream.flow.needsTick) {
        this.#watched.delete(stream);
      }
      this.#schedule(stream);
    }
  }

  // ---- what the peer does -------------------------------------------------------------------------------------------

  /** A piece of a Data frame. Throws a TunnelProtocolError when the session must end. */
  receiveData(id: number, piece: Buffer, first: boolean): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) {
      if (first) this.#replyNotFound(id);
      return;
    }
    if (piece.length === 0 || stream.remoteEnded) return;
    const signal = stream.flow.received(piece.length, this.#options.now());
    if (signal === "overrun") {
      const message = "flow control: more data than the reader allowed";
      this.close(id, message);
      this.#effects.closed(id, { kind: "error", message });
      return;
    }
    this.#signal(stream, signal);
    if (stream.lingerSinceMs !== undefined) stream.lingerSinceMs = this.#options.now();
    this.#effects.data(id, piece);
  }

  /** Any other frame. Throws a TunnelProtocolError when the session must end. */
  receive(type: number, id: number, payload: Buffer): void {
    switch (type) {
      case frameTypes.connect:
        return void this.#onConnect(id, parseConnectTarget(payload));
      case frameTypes.error:
        return void this.#onError(id, payload.toString("utf8"));
      case frameTypes.addClient:
      case frameTypes.removeClient:
        // Only servers peer, and we announce nothing; what cannot be parsed ends the session as everywhere.
        if (!this.#options.acceptsConnect) parseClientAnnouncement(payload);
        return;
      case frameTypes.syncConnections:
        return void this.#onSync(parseSyncedIds(payload));
      case frameTypes.dialAck:
        return void this.#onDialAck(id, payload.toString("utf8"));
      case frameTypes.drain:
        this.#draining = true;
        return void this.#effects.draining();
      case frameTypes.probe:
        return void this.#control(frameTypes.probeReply, 0, payload);
      case frameTypes.probeReply:
        return void this.#effects.probeReply(payload);
      default:
        return void this.#onStreamFrame(type, this.#streams.get(id), payload);
    }
  }

  #onConnect(id: number, target: ConnectTarget): void {
    this.#lastConnectAtMs = this.#options.now();
    if (!this.#options.acceptsConnect) return void this.#controlFrame(errorFrame(id, "connect not allowed"));
    const existing = this.#streams.get(id);
    if (existing !== undefined) {
      this.close(id, "connection id is in use");
      return void this.#effects.closed(id, { kind: "error", message: "connection id was opened again" });
    }
    if (this.#streams.size >= maxStreams)
      return void this.#controlFrame(errorFrame(id, "too many streams in this session"));
    this.#add(id, "dialler", undefined);
    this.#effects.connect(id, target);
  }

  #onError(id: number, text: string): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    this.#remove(stream);
    this.#controlFrame(errorFrame(id, text));
    this.#effects.closed(id, text === cleanEnd ? { kind: "end" } : { kind: "error", message: text });
  }

  #onDialAck(id: number, text: string): void {
    const stream = this.#streams.get(id);
    if (stream === undefined || stream.opened) return;
    if (text === "") {
      stream.opened = true;
      return void this.#effects.opened(id);
    }
    this.#remove(stream);
    const space = text.indexOf(" ");
    const word = text.slice(0, space);
    const error = new DialError(isDialFailure(word) ? word : "failed", text.slice(space + 1));
    this.#effects.closed(id, { kind: "dial-failed", error });
  }

  #onStreamFrame(type: number, stream: StreamState | undefined, payload: Buffer): void {
    if (stream === undefined) return;
    const now = this.#options.now();
    if (type === frameTypes.pause) {
      stream.flow.peerPaused(now);
    } else if (type === frameTypes.resume) {
      this.#signal(stream, stream.flow.peerResumed(now));
    } else if (type === frameTypes.credit) {
      const cursor = { offset: 0, value: 0 };
      if (!readVarint(payload, cursor) || cursor.value < 0) throw new TunnelProtocolError("credit without a size");
      stream.flow.peerCredited(cursor.value);
    } else if (type === frameTypes.endWrite && !stream.remoteEnded) {
      stream.remoteEnded = true;
      this.#effects.ended(stream.id);
      if (stream.endSent) this.#finish(stream, { kind: "end" });
      return;
    }
    if (stream.flow.needsTick) this.#watched.add(stream);
    this.#schedule(stream);
  }

  /** The peer lists what it still holds. A list made before our Connect arrived must not end the fresh stream. */
  #onSync(held: Set<number>): void {
    if (this.#options.acceptsConnect) return; // agents ignore it
    const now = this.#options.now();
    const previous = this.#previousSyncAtMs ?? Number.NEGATIVE_INFINITY;
    this.#previousSyncAtMs = now;
    for (const stream of [...this.#streams.values()]) {
      const settled = now - stream.openedAtMs >= syncGraceMs && stream.openedAtMs < previous;
      if (settled && !held.has(stream.id)) this.#finish(stream, { kind: "error", message: "sync from client" });
    }
  }

  // ---- inside -------------------------------------------------------------------------------------------------------

  #add(id: number, role: StreamRole, connect: Buffer | undefined): StreamState {
    const { now } = this.#options;
    const flow = this.capabilities.credit ? new CreditFlow() : new PauseFlow();
    const stream = new StreamState(id, role, flow, now, connect);
    this.#streams.set(id, stream);
    return stream;
  }

  /** Takes a stream out of the table: whatever comes for it now is for an unknown id. */
  #remove(stream: StreamState): void {
    this.#streams.delete(stream.id);
    this.#watched.delete(stream);
    stream.dropQueue();
  }

  #finish(stream: StreamState, end: StreamEnd): void {
    this.#remove(stream);
    this.#effects.closed(stream.id, end);
  }

  #replyNotFound(id: number): void {
    this.#controlFrame(errorFrame(id, `connection not found ${this.#options.sessionName}/${id}`));
  }

  #signal(stream: StreamState, signal: FlowSignal | "overrun"): void {
    if (stream.flow.needsTick) this.#watched.add(stream);
    if (signal === undefined || signal === "overrun") return;
    if (signal.kind === "credit") {
      const payload = Buffer.allocUnsafe(10);
      this.#control(frameTypes.credit, stream.id, payload.subarray(0, writeVarint(payload, 0, signal.bytes)));
    } else {
      this.#control(signal.kind === "pause" ? frameTypes.pause : frameTypes.resume, stream.id);
    }
  }

  #control(type: number, connectionId: number, payload?: Buffer): void {
    const pieces = payload === undefined ? noPayload : [payload];
    this.#controlFrame({ type, connectionId, pieces, length: payload?.length ?? 0 });
  }

  #controlFrame(frame: OutgoingFrame): void {
    this.#queue.addControl(frame);
    if (this.#queue.controlBytes > maxControlBytes)
      throw new TunnelProtocolError("peer does not read our answers", 1008);
    this.#effects.readyToSend();
  }

  #schedule(stream: StreamState): void {
    if (this.#streams.get(stream.id) !== stream) return;
    this.#queue.add(stream);
    if (!this.#queue.isEmpty) this.#effects.readyToSend();
  }
}

import { type Capabilities, noCapabilities } from "./capabilities.ts";
import { cleanEnd, TunnelProtocolError } from "./errors.ts";
import { CreditFlow, type FlowSignal, PauseFlow } from "./flow-control.ts";
import { frameTypes } from "./frame.ts";
import type { MultiplexerEffects, MultiplexerOptions, StreamEnd } from "./multiplexer-options.ts";
import { type OutgoingFrame, SendQueue } from "./send-queue.ts";
import { errorFrame, type StreamRole, StreamState, writeLowMark } from "./stream-state.ts";
import { writeVarint } from "./varint.ts";

const noPayload: readonly Buffer[] = [];
/** How long a legacy peer may stay silent after our reader's side is done, before the stream is closed. */
const lingerMs = 10_000;
/** Control frames that a peer may make us queue without reading them. */
const maxControlBytes = 4 * 1024 * 1024;

/**
 * The streams of a session and the queue of what goes out: all that our calls and the peer's frames have in common. A stream
 * is in the table exactly as long as either end may still say something on it.
 */
export class StreamTable {
  readonly capabilities: Capabilities;
  /** No new streams are opened: the peer wants none, or we told it so. */
  draining = false;
  readonly #effects: MultiplexerEffects;
  readonly #now: () => number;
  readonly #streams = new Map<number, StreamState>();
  /** Streams that time alone can change. */
  readonly #watched = new Set<StreamState>();
  readonly #queue = new SendQueue();

  constructor({ capabilities, effects, now }: MultiplexerOptions) {
    this.capabilities = capabilities ?? noCapabilities;
    this.#effects = effects;
    this.#now = now;
  }

  get size(): number {
    return this.#streams.size;
  }

  get ids(): Iterable<number> {
    return this.#streams.keys();
  }

  /** Bytes queued over all streams. */
  get queuedBytes(): number {
    let bytes = this.#queue.controlBytes;
    for (const stream of this.#streams.values()) bytes += stream.queuedBytes;
    return bytes;
  }

  /** All streams of now; they may be removed meanwhile. */
  all(): StreamState[] {
    return [...this.#streams.values()];
  }

  get(id: number): StreamState | undefined {
    return this.#streams.get(id);
  }

  add(id: number, role: StreamRole, connect?: Buffer): StreamState {
    const flow = this.capabilities.credit ? new CreditFlow() : new PauseFlow();
    const stream = new StreamState(id, role, flow, this.#now, connect);
    this.#streams.set(id, stream);
    return stream;
  }

  /** Takes a stream out of the table: whatever comes for it now is for an unknown id. */
  remove(stream: StreamState): void {
    this.#streams.delete(stream.id);
    this.#watched.delete(stream);
    stream.dropQueue();
  }

  finish(stream: StreamState, end: StreamEnd): void {
    this.remove(stream);
    this.#effects.closed(stream.id, end);
  }

  /** Ends a stream at once in both directions; what is queued is dropped, the peer is told. */
  close(id: number, text: string = cleanEnd): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const unannounced = stream.unannounced;
    this.remove(stream);
    if (!unannounced) this.sendFrame(errorFrame(id, text));
  }

  /** Time alone may change this stream: `tick` looks at it. */
  watch(stream: StreamState): void {
    this.#watched.add(stream);
  }

  /** Says that a stream may have something to send. */
  schedule(stream: StreamState): void {
    if (this.#streams.get(stream.id) !== stream) return;
    this.#queue.add(stream);
    if (!this.#queue.isEmpty) this.#effects.readyToSend();
  }

  /** Tells the peer what the reader's side of a stream decided. */
  signal(stream: StreamState, signal: FlowSignal | undefined): void {
    if (stream.flow.needsTick) this.#watched.add(stream);
    if (signal === undefined) return;
    if (signal.kind === "credit") {
      const payload = Buffer.allocUnsafe(10);
      this.send(frameTypes.credit, stream.id, payload.subarray(0, writeVarint(payload, 0, signal.bytes)));
    } else {
      this.send(signal.kind === "pause" ? frameTypes.pause : frameTypes.resume, stream.id);
    }
  }

  /** Queues a control frame, before all data; drops it and ends the session when the peer lets too many wait. Never throws. */
  send(type: number, connectionId: number, payload?: Buffer): void {
    const pieces = payload === undefined ? noPayload : [payload];
    this.sendFrame({ type, connectionId, pieces, length: payload?.length ?? 0 });
  }

  sendFrame(frame: OutgoingFrame): void {
    if (this.#queue.controlBytes > maxControlBytes) {
      this.#effects.overloaded(new TunnelProtocolError("peer does not read our answers", 1008));
      return;
    }
    this.#queue.addControl(frame);
    this.#effects.readyToSend();
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
      if (frame.type === frameTypes.error || stream.remoteEnded) this.finish(stream, { kind: "end" });
      else this.#effects.writable(stream.id);
    }
    return frame;
  }

  /** To be called about once a second. */
  tick(): void {
    const now = this.#now();
    for (const stream of this.#watched) {
      this.signal(stream, stream.flow.tick(now));
      if (stream.lingerSinceMs !== undefined && now - stream.lingerSinceMs >= lingerMs && stream.queuedBytes === 0) {
        this.close(stream.id);
        this.#effects.closed(stream.id, { kind: "end" });
      } else if (stream.lingerSinceMs === undefined && !stream.flow.needsTick) {
        this.#watched.delete(stream);
      }
      this.schedule(stream);
    }
  }
}

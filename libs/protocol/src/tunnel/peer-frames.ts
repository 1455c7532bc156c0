import { cleanEnd, DialError, isDialFailure, TunnelProtocolError } from "./errors.ts";
import {
  type ConnectTarget,
  frameTypes,
  parseClientAnnouncement,
  parseConnectTarget,
  parseSyncedIds,
} from "./frame.ts";
import type { MultiplexerEffects, MultiplexerOptions } from "./multiplexer-options.ts";
import { errorFrame, type StreamState } from "./stream-state.ts";
import type { StreamTable } from "./stream-table.ts";
import { readVarint } from "./varint.ts";

/** A Sync lists nothing newer than this, whatever the round trip. */
const syncGraceMs = 10_000;
const maxStreams = 65_536;

/** What the peer's frames do to the streams of a session. */
export class PeerFrames {
  readonly #options: MultiplexerOptions;
  readonly #effects: MultiplexerEffects;
  readonly #table: StreamTable;
  #previousSyncAtMs: number | undefined;
  #lastConnectAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: MultiplexerOptions, table: StreamTable) {
    this.#options = options;
    this.#effects = options.effects;
    this.#table = table;
  }

  /** When the peer last opened a stream (milliseconds). */
  get lastConnectAtMs(): number {
    return this.#lastConnectAtMs;
  }

  /** A piece of a Data frame. Throws a TunnelProtocolError when the session must end. */
  data(id: number, piece: Buffer, first: boolean): void {
    const stream = this.#table.get(id);
    if (stream === undefined) {
      if (first) this.#replyNotFound(id);
      return;
    }
    if (piece.length === 0 || stream.remoteEnded) return;
    const signal = stream.flow.received(piece.length, this.#options.now());
    if (signal === "overrun") {
      const message = "flow control: more data than the reader allowed";
      this.#table.close(id, message);
      this.#effects.closed(id, { kind: "error", message });
      return;
    }
    this.#table.signal(stream, signal);
    if (stream.lingerSinceMs !== undefined) stream.lingerSinceMs = this.#options.now();
    this.#effects.data(id, piece);
  }

  /** Any other frame. Throws a TunnelProtocolError when the session must end. */
  frame(type: number, id: number, payload: Buffer): void {
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
        this.#table.draining = true;
        return void this.#effects.draining();
      case frameTypes.probe:
        return void this.#table.send(frameTypes.probeReply, 0, payload);
      case frameTypes.probeReply:
        return void this.#effects.probeReply(payload);
      default:
        return void this.#onStreamFrame(type, this.#table.get(id), payload);
    }
  }

  #onConnect(id: number, target: ConnectTarget): void {
    this.#lastConnectAtMs = this.#options.now();
    if (!this.#options.acceptsConnect) return void this.#table.sendFrame(errorFrame(id, "connect not allowed"));
    const existing = this.#table.get(id);
    if (existing !== undefined) {
      this.#table.close(id, "connection id is in use");
      return void this.#effects.closed(id, { kind: "error", message: "connection id was opened again" });
    }
    if (this.#table.size >= maxStreams)
      return void this.#table.sendFrame(errorFrame(id, "too many streams in this session"));
    this.#table.add(id, "dialler");
    this.#effects.connect(id, target);
  }

  #onError(id: number, text: string): void {
    const stream = this.#table.get(id);
    if (stream === undefined) return;
    this.#table.remove(stream);
    this.#table.sendFrame(errorFrame(id, text));
    this.#effects.closed(id, text === cleanEnd ? { kind: "end" } : { kind: "error", message: text });
  }

  #onDialAck(id: number, text: string): void {
    const stream = this.#table.get(id);
    if (stream === undefined || stream.opened) return;
    if (text === "") {
      stream.opened = true;
      return void this.#effects.opened(id);
    }
    this.#table.remove(stream);
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
      this.#table.signal(stream, stream.flow.peerResumed(now));
    } else if (type === frameTypes.credit) {
      const cursor = { offset: 0, value: 0 };
      if (!readVarint(payload, cursor) || cursor.value < 0) throw new TunnelProtocolError("credit without a size");
      stream.flow.peerCredited(cursor.value);
    } else if (type === frameTypes.endWrite && !stream.remoteEnded) {
      stream.remoteEnded = true;
      this.#effects.ended(stream.id);
      if (stream.endSent) this.#table.finish(stream, { kind: "end" });
      return;
    }
    if (stream.flow.needsTick) this.#table.watch(stream);
    this.#table.schedule(stream);
  }

  /** The peer lists what it still holds. A list made before our Connect arrived must not end the fresh stream. */
  #onSync(held: Set<number>): void {
    if (this.#options.acceptsConnect) return; // agents ignore it
    const now = this.#options.now();
    const previous = this.#previousSyncAtMs ?? Number.NEGATIVE_INFINITY;
    this.#previousSyncAtMs = now;
    for (const stream of this.#table.all()) {
      const settled = now - stream.openedAtMs >= syncGraceMs && stream.openedAtMs < previous;
      if (settled && !held.has(stream.id)) this.#table.finish(stream, { kind: "error", message: "sync from client" });
    }
  }

  #replyNotFound(id: number): void {
    this.#table.sendFrame(errorFrame(id, `connection not found ${this.#options.sessionName}/${id}`));
  }
}

import type { Capabilities } from "./capabilities.ts";
import { cleanEnd, DialError, type DialFailure } from "./errors.ts";
import { encodeSyncedIds, frameTypes, payloadLimits } from "./frame.ts";
import type { MultiplexerOptions } from "./multiplexer-options.ts";
import { PeerFrames } from "./peer-frames.ts";
import type { OutgoingFrame } from "./send-queue.ts";
import { errorFrame, writeLowMark } from "./stream-state.ts";
import { StreamTable } from "./stream-table.ts";

/** SyncConnections towards servers without capabilities. */
const syncIntervalMs = 60_000;
const syncQuietMs = 2_000;

/**
 * All streams of one tunnel session as a state machine without I/O: frames in, frames out, effects. The rules are those of
 * remotedialer (an id is removed before its Error is echoed; Error for an unknown id is ignored; what was delivered comes
 * before the end; exactly `EOF` is orderly; no Data after an Error), with the agreed extensions on top.
 */
export class Multiplexer {
  readonly capabilities: Capabilities;
  readonly #now: () => number;
  readonly #table: StreamTable;
  readonly #peer: PeerFrames;
  #lastId = 1;
  #lastSyncMs: number;

  constructor(options: MultiplexerOptions) {
    this.#now = options.now;
    this.#lastSyncMs = options.now();
    this.#table = new StreamTable(options);
    this.#peer = new PeerFrames(options, this.#table);
    this.capabilities = this.#table.capabilities;
  }

  get streamCount(): number {
    return this.#table.size;
  }

  /** The peer wants no new streams, or we told it so. */
  get draining(): boolean {
    return this.#table.draining;
  }

  /** Streams that may not send now because of the peer. */
  get pausedCount(): number {
    let count = 0;
    for (const stream of this.#table.all()) if (stream.flow.paused) count++;
    return count;
  }

  /** Bytes queued over all streams. */
  get queuedBytes(): number {
    return this.#table.queuedBytes;
  }

  /** Opens a stream to `<protocol>/<address>` (at most 266 bytes); Data may be written at once. */
  open(protocol: string, address: string): number {
    const payload = Buffer.from(`${protocol}/${address}`);
    if (payload.length > payloadLimits[frameTypes.connect]!) {
      throw new DialError("failed", `address is too long for a tunnel: ${payload.length} bytes`);
    }
    const id = ++this.#lastId;
    const stream = this.#table.add(id, "opener", payload);
    stream.opened = !this.capabilities.ack;
    this.#table.schedule(stream);
    return id;
  }

  /** The dial of a stream that the peer asked for succeeded. */
  accept(id: number): void {
    const stream = this.#table.get(id);
    if (stream === undefined || stream.opened) return;
    stream.opened = true;
    if (this.capabilities.ack) this.#table.send(frameTypes.dialAck, id);
  }

  /** The dial of a stream that the peer asked for failed, or is not allowed; only this stream ends. */
  refuse(id: number, failure: DialFailure, text: string): void {
    const stream = this.#table.get(id);
    if (stream === undefined) return;
    this.#table.remove(stream);
    if (this.capabilities.ack) this.#table.send(frameTypes.dialAck, id, Buffer.from(`${failure} ${text}`));
    else this.#table.sendFrame(errorFrame(id, text));
  }

  /** Queues bytes; false asks the writer to wait for `writable`. The buffer must not be changed afterwards. */
  write(id: number, piece: Buffer): boolean {
    const stream = this.#table.get(id);
    if (stream === undefined || stream.writeEnded) return true;
    stream.push(piece);
    this.#table.schedule(stream);
    if (stream.queuedBytes < writeLowMark) return true;
    stream.writerWaits = true;
    return false;
  }

  /** The reader took bytes: gives the sender room again. */
  consumed(id: number, bytes: number): void {
    const stream = this.#table.get(id);
    if (stream === undefined || bytes === 0) return;
    this.#table.signal(stream, stream.flow.consumed(bytes, this.#now()));
  }

  /**
   * We write no more. With half-close the other direction goes on. Without it the protocol has only Error, which ends both:
   * whoever dialled sends it now (its target is done), the opener waits for the other direction first. False when the end still
   * waits for its turn: `writable` or `closed` follows.
   */
  endWrite(id: number): boolean {
    const stream = this.#table.get(id);
    if (stream === undefined || stream.writeEnded) return true;
    stream.writeEnded = true;
    if (this.capabilities.halfclose) {
      stream.endAfterData();
    } else if (stream.role === "dialler") {
      stream.closeAfterData(cleanEnd);
    } else {
      stream.lingerSinceMs = this.#now();
      this.#table.watch(stream);
      return true;
    }
    this.#table.schedule(stream);
    return false;
  }

  /** Ends a stream at once in both directions; what is queued is dropped, the peer is told. */
  close(id: number, text?: string): void {
    this.#table.close(id, text);
  }

  /** Tells the peer to open no more streams here. */
  drain(): void {
    if (this.#table.draining) return;
    this.#table.draining = true;
    if (this.capabilities.drain) this.#table.send(frameTypes.drain, 0);
  }

  probe(nonce: Buffer): void {
    this.#table.send(frameTypes.probe, 0, nonce);
  }

  /** Lists the streams we hold once a minute, as remotedialer's agents do; not while a Connect may race with it. */
  syncIfQuiet(): void {
    const now = this.#now();
    if (now - this.#lastSyncMs < syncIntervalMs || now - this.#peer.lastConnectAtMs < syncQuietMs) return;
    this.#lastSyncMs = now;
    this.#table.send(frameTypes.syncConnections, 0, encodeSyncedIds(this.#table.ids));
  }

  /** The session is lost: every stream ends. */
  disconnect(message: string): void {
    for (const stream of this.#table.all()) this.#table.finish(stream, { kind: "error", message });
  }

  /** The next frame to put on the wire. */
  next(): OutgoingFrame | undefined {
    return this.#table.next();
  }

  /** To be called about once a second. */
  tick(): void {
    this.#table.tick();
  }

  /** A piece of a Data frame. Throws a TunnelProtocolError when the session must end. */
  receiveData(id: number, piece: Buffer, first: boolean): void {
    this.#peer.data(id, piece, first);
  }

  /** Any other frame. Throws a TunnelProtocolError when the session must end. */
  receive(type: number, id: number, payload: Buffer): void {
    this.#peer.frame(type, id, payload);
  }
}

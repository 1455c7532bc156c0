import { cleanEnd } from "./errors.ts";
import type { FlowControl } from "./flow-control.ts";
import { frameTypes } from "./frame.ts";
import type { FrameSource, OutgoingFrame } from "./send-queue.ts";

/** Which end of a stream we are: who sent Connect, or who dials. */
export type StreamRole = "opener" | "dialler";

/** Queued bytes below which a writer may go on. */
export const writeLowMark = 64 * 1024;

const nothing: readonly Buffer[] = [];

/**
 * One stream inside a session: what waits to be sent, in order (Connect, Data, EndWrite, Error), and how it may end. It is
 * in the session's table exactly as long as the other end may know it.
 */
export class StreamState implements FrameSource {
  readonly id: number;
  readonly role: StreamRole;
  readonly flow: FlowControl;
  readonly openedAtMs: number;
  queued = false;
  /** Dial acknowledged, or none is expected. */
  opened = false;
  /** The other end sends no more. */
  remoteEnded = false;
  /** We send no more: EndWrite went out, or waits for its turn. */
  writeEnded = false;
  endSent = false;
  /** Opener without half-close: since when the other direction is all that keeps the stream (milliseconds). */
  lingerSinceMs: number | undefined;
  /** A writer waits for room. */
  writerWaits = false;
  readonly #now: () => number;
  #connect: Buffer | undefined;
  #pieces: Buffer[] = [];
  #head = 0;
  #queuedBytes = 0;
  /** Sends EndWrite after the data. */
  #endPending = false;
  /** Sends this Error after the data, which closes the stream. */
  #closePending: string | undefined;

  constructor(id: number, role: StreamRole, flow: FlowControl, now: () => number, connect: Buffer | undefined) {
    this.id = id;
    this.role = role;
    this.flow = flow;
    this.#now = now;
    this.openedAtMs = now();
    this.#connect = connect;
  }

  /** Bytes that wait for their turn. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  /** The other end has not heard of this stream yet. */
  get unannounced(): boolean {
    return this.#connect !== undefined;
  }

  push(piece: Buffer): void {
    if (piece.length === 0) return;
    this.#pieces.push(piece);
    this.#queuedBytes += piece.length;
  }

  /** No more data: EndWrite follows what is queued. */
  endAfterData(): void {
    this.#endPending = true;
  }

  /** An Error follows what is queued, and ends the stream. */
  closeAfterData(text: string): void {
    this.#closePending = text;
  }

  /** What was queued will never be sent. */
  dropQueue(): void {
    this.#pieces = [];
    this.#head = 0;
    this.#queuedBytes = 0;
    this.#connect = undefined;
    this.#endPending = false;
    this.#closePending = undefined;
  }

  hasFrame(): boolean {
    if (this.#connect !== undefined) return true;
    if (this.#queuedBytes > 0) return this.flow.allowance(this.#now()) > 0;
    return this.#endPending || this.#closePending !== undefined;
  }

  nextFrame(maxBytes: number): OutgoingFrame | undefined {
    if (this.#connect !== undefined) {
      const payload = this.#connect;
      this.#connect = undefined;
      return { type: frameTypes.connect, connectionId: this.id, pieces: [payload], length: payload.length };
    }
    if (this.#queuedBytes > 0) return this.#dataFrame(maxBytes);
    if (this.#endPending) {
      this.#endPending = false;
      this.endSent = true;
      return { type: frameTypes.endWrite, connectionId: this.id, pieces: nothing, length: 0 };
    }
    if (this.#closePending !== undefined) {
      const frame = errorFrame(this.id, this.#closePending);
      this.#closePending = undefined;
      return frame;
    }
    return undefined;
  }

  #dataFrame(maxBytes: number): OutgoingFrame | undefined {
    const now = this.#now();
    const limit = Math.min(maxBytes, this.flow.allowance(now));
    if (limit <= 0) return undefined;
    const pieces: Buffer[] = [];
    let length = 0;
    while (length < limit && this.#head < this.#pieces.length) {
      const piece = this.#pieces[this.#head]!;
      const room = limit - length;
      if (piece.length <= room) {
        pieces.push(piece);
        length += piece.length;
        this.#head++;
      } else {
        pieces.push(piece.subarray(0, room));
        this.#pieces[this.#head] = piece.subarray(room);
        length += room;
      }
    }
    if (this.#head === this.#pieces.length) {
      this.#pieces = [];
      this.#head = 0;
    } else if (this.#head > 64) {
      this.#pieces = this.#pieces.slice(this.#head);
      this.#head = 0;
    }
    this.#queuedBytes -= length;
    this.flow.sent(length, now);
    return { type: frameTypes.data, connectionId: this.id, pieces, length };
  }
}

export function errorFrame(connectionId: number, text: string): OutgoingFrame {
  const payload = Buffer.from(text === "" ? cleanEnd : text);
  return { type: frameTypes.error, connectionId, pieces: [payload], length: payload.length };
}

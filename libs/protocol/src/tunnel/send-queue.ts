/** A frame on its way out. Data may be several pieces that go out as one payload. */
export interface OutgoingFrame {
  type: number;
  connectionId: number;
  /** Payload pieces, in order. */
  pieces: readonly Buffer[];
  /** Sum of their lengths. */
  length: number;
}

/** What the queue needs of a stream: to be asked for its next frame, and to say whether it has more. */
export interface FrameSource {
  /** Whether it stands in one of the queue's lists. Owned by the queue. */
  queued: boolean;
  /** The next frame of at most `maxBytes` of payload, or undefined when it may not send now. */
  nextFrame(maxBytes: number): OutgoingFrame | undefined;
  hasFrame(): boolean;
}

/** Payload of one frame while several streams want to send: their turns. */
const sharedFrameBytes = 16 * 1024;
/** Payload of one frame while only one stream wants to. */
const loneFrameBytes = 64 * 1024;

/** First in, first out, without the cost of Array.shift on long queues. */
class Fifo<T> {
  #items: T[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    if (this.#head === this.#items.length) return undefined;
    const item = this.#items[this.#head++];
    if (this.#head > 64 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }
}

/**
 * The one place that decides what goes out next: control frames, then streams that just began to want to send (an echo
 * among downloads), then the others in turn. A turn is one frame of up to 16 KiB whatever its pieces were, so every
 * backlogged stream gets the same share of bytes.
 */
export class SendQueue {
  readonly #control = new Fifo<OutgoingFrame>();
  readonly #fresh = new Fifo<FrameSource>();
  readonly #backlogged = new Fifo<FrameSource>();
  #controlBytes = 0;

  /** Bytes of control frames that wait; bounded by the caller. */
  get controlBytes(): number {
    return this.#controlBytes;
  }

  get isEmpty(): boolean {
    return this.#control.length === 0 && this.#fresh.length === 0 && this.#backlogged.length === 0;
  }

  addControl(frame: OutgoingFrame): void {
    this.#control.push(frame);
    this.#controlBytes += frame.length + 16;
  }

  /** Says that a stream may have something to send. */
  add(source: FrameSource): void {
    if (source.queued || !source.hasFrame()) return;
    source.queued = true;
    this.#fresh.push(source);
  }

  next(): OutgoingFrame | undefined {
    const control = this.#control.shift();
    if (control !== undefined) {
      this.#controlBytes -= control.length + 16;
      return control;
    }
    for (;;) {
      const source = this.#fresh.shift() ?? this.#backlogged.shift();
      if (source === undefined) return undefined;
      source.queued = false;
      const alone = this.#fresh.length === 0 && this.#backlogged.length === 0;
      const frame = source.nextFrame(alone ? loneFrameBytes : sharedFrameBytes);
      if (source.hasFrame()) {
        source.queued = true;
        this.#backlogged.push(source);
      }
      if (frame !== undefined) return frame;
    }
  }
}

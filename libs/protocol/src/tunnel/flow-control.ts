/**
 * How much one stream may send, and what it tells the other end about its own buffer. Two ways: Pause and Resume, which
 * every peer since 2021 understands, and credits between Keelson ends. Pure; time comes in as milliseconds.
 */

/** Unread bytes of a stream above which its sender is paused, in bytes; also the window of a credit stream. */
export const highMark = 256 * 1024;
/** Unread bytes below which it may go on. */
export const lowMark = 64 * 1024;
/**
 * Unread bytes at which a peer that heeds no Pause loses the stream: the memory of one stream is bounded. What is on its way
 * when the Pause is sent must fit below: after a stall of this process that is all that the kernels' buffers on the path hold,
 * 10 MiB a hop as Linux comes, with a balancer in between twice that.
 */
export const hardLimit = 32 * 1024 * 1024;
/** Credit is returned in portions of this size. */
const creditPortion = 64 * 1024;
/** What a sender may send now and then although it is paused, when the Pause may have lost its Resume. */
export const trickleBytes = 16 * 1024;
const trickleEveryMs = 2_000;
/** A Pause this soon after our Resume may come from a peer that forgot it (one round trip, generously). */
const suspicionMs = 500;
/** How long a Resume is held back while the peer has us paused, before we stop believing in its own Resume. */
const heldResumeMs = 5_000;

/** What a flow-control step asks to be sent. */
export type FlowSignal = { kind: "pause" } | { kind: "resume" } | { kind: "credit"; bytes: number } | undefined;

export interface FlowControl {
  /** Bytes that may be sent now. */
  allowance(nowMs: number): number;
  sent(bytes: number, nowMs: number): void;
  /** `bytes` of Data arrived. `overrun` means that the peer broke its window or the memory bound. */
  received(bytes: number, nowMs: number): FlowSignal | "overrun";
  /** The reader took `bytes`. */
  consumed(bytes: number, nowMs: number): FlowSignal;
  peerPaused(nowMs: number): void;
  peerResumed(nowMs: number): FlowSignal;
  peerCredited(bytes: number): void;
  /** Periodic, while {@link needsTick}. */
  tick(nowMs: number): FlowSignal;
  /** Whether time alone can change something: paused under suspicion, or a Resume held back. */
  readonly needsTick: boolean;
  readonly paused: boolean;
}

/** Credits: a window of 256 KiB in each direction, given back as the reader reads. */
export class CreditFlow implements FlowControl {
  #window = highMark;
  #unread = 0;
  #toReturn = 0;

  readonly needsTick = false;

  get paused(): boolean {
    return this.#window <= 0;
  }

  allowance(): number {
    return this.#window;
  }

  sent(bytes: number): void {
    this.#window -= bytes;
  }

  received(bytes: number): FlowSignal | "overrun" {
    this.#unread += bytes;
    return this.#unread + this.#toReturn > highMark ? "overrun" : undefined;
  }

  consumed(bytes: number): FlowSignal {
    this.#unread -= bytes;
    this.#toReturn += bytes;
    if (this.#toReturn < creditPortion) return undefined;
    const credit = this.#toReturn;
    this.#toReturn = 0;
    return { kind: "credit", bytes: credit };
  }

  peerPaused(): void {}

  peerResumed(): FlowSignal {
    return undefined;
  }

  peerCredited(bytes: number): void {
    // Never above the window: a peer that credits too much only fools itself.
    this.#window = Math.min(highMark, this.#window + bytes);
  }

  tick(): FlowSignal {
    return undefined;
  }
}

/**
 * Pause and Resume towards remotedialer. Its peers keep one flag for both directions, so this end keeps two, and:
 * (a) holds its Resume while the peer has it paused, because a Resume would wipe the peer's record of its own Pause;
 * (b) sends no Resume that nobody waits for;
 * (c) takes a Pause right after its own Resume for suspect: it trickles, until another Pause confirms it or Data that
 *     arrives later proves that the peer's flag is clear;
 * (d) pauses again when Data keeps coming.
 */
export class PauseFlow implements FlowControl {
  #unread = 0;
  #pausedPeerAtMs: number | undefined;
  #resumeHeldSinceMs: number | undefined;
  #resumedPeerAtMs = Number.NEGATIVE_INFINITY;
  #pausedByPeerAtMs: number | undefined;
  #suspect = false;
  #trickledAtMs = 0;
  #trickleLeft = 0;

  get needsTick(): boolean {
    return this.#resumeHeldSinceMs !== undefined || (this.#pausedByPeerAtMs !== undefined && this.#suspect);
  }

  get paused(): boolean {
    return this.#pausedByPeerAtMs !== undefined;
  }

  allowance(): number {
    return this.#pausedByPeerAtMs === undefined ? Number.POSITIVE_INFINITY : this.#trickleLeft;
  }

  sent(bytes: number): void {
    if (this.#pausedByPeerAtMs !== undefined) this.#trickleLeft = Math.max(0, this.#trickleLeft - bytes);
  }

  received(bytes: number, nowMs: number): FlowSignal | "overrun" {
    this.#unread += bytes;
    if (this.#unread > hardLimit) return "overrun";
    if (this.#suspect && this.#pausedByPeerAtMs !== undefined && nowMs - this.#pausedByPeerAtMs > suspicionMs) {
      this.#clearPeerPause();
    }
    if (this.#unread <= highMark) return undefined;
    this.#resumeHeldSinceMs = undefined;
    if (this.#pausedPeerAtMs !== undefined && nowMs - this.#pausedPeerAtMs <= suspicionMs) return undefined;
    this.#pausedPeerAtMs = nowMs;
    return { kind: "pause" };
  }

  consumed(bytes: number, nowMs: number): FlowSignal {
    this.#unread -= bytes;
    if (this.#pausedPeerAtMs === undefined || this.#unread >= lowMark) return undefined;
    if (this.#pausedByPeerAtMs === undefined) return this.#resume(nowMs);
    this.#resumeHeldSinceMs ??= nowMs;
    return undefined;
  }

  peerPaused(nowMs: number): void {
    if (this.#pausedByPeerAtMs !== undefined) {
      this.#suspect = false; // a second Pause: it means it
    } else {
      this.#suspect = nowMs - this.#resumedPeerAtMs <= suspicionMs;
      this.#trickledAtMs = nowMs;
    }
    this.#pausedByPeerAtMs = nowMs;
    this.#trickleLeft = 0;
  }

  peerResumed(nowMs: number): FlowSignal {
    this.#clearPeerPause();
    return this.#resumeHeldSinceMs === undefined ? undefined : this.#resume(nowMs);
  }

  peerCredited(): void {}

  tick(nowMs: number): FlowSignal {
    if (this.#suspect && this.#pausedByPeerAtMs !== undefined && nowMs - this.#trickledAtMs >= trickleEveryMs) {
      this.#trickledAtMs = nowMs;
      this.#trickleLeft = trickleBytes;
    }
    if (this.#resumeHeldSinceMs !== undefined && nowMs - this.#resumeHeldSinceMs >= heldResumeMs) {
      this.#suspect = true; // our Resume may wipe the peer's Pause
      return this.#resume(nowMs);
    }
    return undefined;
  }

  #resume(nowMs: number): FlowSignal {
    this.#pausedPeerAtMs = undefined;
    this.#resumeHeldSinceMs = undefined;
    this.#resumedPeerAtMs = nowMs;
    return { kind: "resume" };
  }

  #clearPeerPause(): void {
    this.#pausedByPeerAtMs = undefined;
    this.#suspect = false;
    this.#trickleLeft = 0;
  }
}

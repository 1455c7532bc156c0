import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { CreditFlow, type FlowControl, type FlowSignal, highMark, PauseFlow } from "../../src/tunnel/flow-control.ts";

/** What travels between two ends of one stream. */
type Message =
  | { kind: "data"; bytes: number }
  | { kind: "pause" }
  | { kind: "resume" }
  | { kind: "credit"; bytes: number };

interface Peer {
  /** Sends what it may of what it has left. */
  write(nowMs: number): Message[];
  receive(message: Message, nowMs: number): Message[];
  /** Its reader takes up to so many bytes. */
  read(bytes: number, nowMs: number): Message[];
  tick(nowMs: number): Message[];
  readonly received: number;
  readonly unread: number;
}

const chunkBytes = 16 * 1024;

/** Our end. */
class OurPeer implements Peer {
  received = 0;
  unread = 0;
  readonly #flow: FlowControl;
  #left: number;

  constructor(flow: FlowControl, toSend: number) {
    this.#flow = flow;
    this.#left = toSend;
  }

  write(nowMs: number): Message[] {
    const bytes = Math.min(this.#left, chunkBytes, this.#flow.allowance(nowMs));
    if (bytes <= 0) return [];
    this.#left -= bytes;
    this.#flow.sent(bytes, nowMs);
    return [{ kind: "data", bytes }];
  }

  receive(message: Message, nowMs: number): Message[] {
    if (message.kind === "data") {
      this.received += message.bytes;
      this.unread += message.bytes;
      const signal = this.#flow.received(message.bytes, nowMs);
      if (signal === "overrun") throw new Error("overrun");
      return messagesOf(signal);
    }
    if (message.kind === "pause") this.#flow.peerPaused(nowMs);
    else if (message.kind === "credit") this.#flow.peerCredited(message.bytes);
    else return messagesOf(this.#flow.peerResumed(nowMs));
    return [];
  }

  read(bytes: number, nowMs: number): Message[] {
    const taken = Math.min(bytes, this.unread);
    if (taken === 0) return [];
    this.unread -= taken;
    return messagesOf(this.#flow.consumed(taken, nowMs));
  }

  tick(nowMs: number): Message[] {
    return messagesOf(this.#flow.tick(nowMs));
  }
}

/** remotedialer's end, with the one flag that serves both directions. */
class StockPeer implements Peer {
  received = 0;
  unread = 0;
  #paused = false;
  #left: number;

  constructor(toSend: number) {
    this.#left = toSend;
  }

  write(): Message[] {
    const bytes = this.#paused ? 0 : Math.min(this.#left, chunkBytes);
    this.#left -= bytes;
    return bytes === 0 ? [] : [{ kind: "data", bytes }];
  }

  receive(message: Message): Message[] {
    if (message.kind !== "data") {
      this.#paused = message.kind === "pause";
      return [];
    }
    this.received += message.bytes;
    this.unread += message.bytes;
    if (this.unread <= 2 * 1024 * 1024 || this.#paused) return [];
    this.#paused = true;
    return [{ kind: "pause" }];
  }

  read(bytes: number): Message[] {
    this.unread -= Math.min(bytes, this.unread);
    if (this.unread >= 256 * 1024 || !this.#paused) return [];
    this.#paused = false;
    return [{ kind: "resume" }];
  }

  tick(): Message[] {
    return [];
  }
}

function messagesOf(signal: FlowSignal): Message[] {
  return signal === undefined ? [] : [signal];
}

/** Runs both ends until everything arrived; returns the simulated milliseconds, or Infinity when it hangs. */
function transfer(
  ours: Peer,
  theirs: Peer,
  totals: readonly [number, number],
  readRates: readonly [number, number],
): number {
  const stepMs = 5;
  const oneWayMs = 25;
  const limitMs = 600_000;
  const inFlight: { at: number; to: Peer; message: Message }[] = [];
  for (let nowMs = 0; nowMs < limitMs; nowMs += stepMs) {
    const send = (to: Peer, messages: Message[]): void => {
      for (const message of messages) inFlight.push({ at: nowMs + oneWayMs, to, message });
    };
    while (inFlight.length > 0 && inFlight[0]!.at <= nowMs) {
      const { to, message } = inFlight.shift()!;
      send(to === ours ? theirs : ours, to.receive(message, nowMs));
    }
    for (const [index, [peer, other]] of (
      [
        [ours, theirs],
        [theirs, ours],
      ] as const
    ).entries()) {
      for (let turn = 0; turn < 16; turn++) send(other, peer.write(nowMs));
      // Readers that stop now and then, each in its own rhythm: the crossings come from here.
      const awake = Math.floor(nowMs / (700 + index * 410)) % 2 === 0;
      if (awake) send(other, peer.read(readRates[index]!, nowMs));
      if (nowMs % 1_000 === 0) send(other, peer.tick(nowMs));
    }
    if (ours.received === totals[1] && theirs.received === totals[0]) return nowMs;
  }
  return Number.POSITIVE_INFINITY;
}

const rate = fc.integer({ min: 16 * 1024, max: 400 * 1024 });
const size = fc.integer({ min: 0, max: 8 * 1024 * 1024 });

describe("two-way bulk over 50 ms round trips never hangs", () => {
  test("against a stock peer, whose one flag forgets pauses", () => {
    fc.assert(
      fc.property(size, size, rate, rate, (toThem, toUs, ourRate, theirRate) => {
        const time = transfer(
          new OurPeer(new PauseFlow(), toThem),
          new StockPeer(toUs),
          [toThem, toUs],
          [ourRate, theirRate],
        );
        expect(time).toBeLessThan(Number.POSITIVE_INFINITY);
      }),
      { numRuns: 150 },
    );
  });

  test("between two of ours with Pause and Resume, and with credits, whose window holds", () => {
    fc.assert(
      fc.property(size, size, rate, rate, (toThem, toUs, ourRate, theirRate) => {
        const paused = [new OurPeer(new PauseFlow(), toThem), new OurPeer(new PauseFlow(), toUs)] as const;
        expect(transfer(...paused, [toThem, toUs], [ourRate, theirRate])).toBeLessThan(Number.POSITIVE_INFINITY);
        const credited = [new OurPeer(new CreditFlow(), toThem), new OurPeer(new CreditFlow(), toUs)] as const;
        expect(transfer(...credited, [toThem, toUs], [ourRate, theirRate])).toBeLessThan(Number.POSITIVE_INFINITY);
        expect(Math.max(credited[0].unread, credited[1].unread)).toBeLessThanOrEqual(highMark);
      }),
      { numRuns: 60 },
    );
  });
});

test("a stream survives all that was on its way when the Pause left, and not a peer that goes on and on", () => {
  const flow = new PauseFlow();
  const outcomes = new Map<unknown, number>();
  const receive = (bytes: number): void => {
    for (let left = bytes; left > 0; left -= chunkBytes) {
      const signal = flow.received(chunkBytes, 0);
      const kind = typeof signal === "object" ? signal.kind : signal;
      outcomes.set(kind, (outcomes.get(kind) ?? 0) + 1);
    }
  };
  // Two hops whose kernels hold 10 MiB each, read in one moment after a stall.
  receive(20 * 1024 * 1024);
  expect(outcomes.get("pause")).toBe(1);
  expect(outcomes.has("overrun")).toBe(false);
  receive(13 * 1024 * 1024);
  expect(outcomes.has("overrun")).toBe(true);
});

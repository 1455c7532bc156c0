import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frameTypes } from "../../src/tunnel/frame.ts";
import { allCapabilities, type Capabilities, noCapabilities } from "../../src/tunnel/index.ts";
import { Multiplexer } from "../../src/tunnel/multiplexer.ts";
import type { MultiplexerEffects } from "../../src/tunnel/multiplexer-options.ts";

/** One end of a pure session: collects what its streams receive and reads only when told to. */
class End {
  readonly mux: Multiplexer;
  readonly received = new Map<number, number[]>();
  readonly ended = new Map<number, string>();
  /** Delivered, not yet read. */
  readonly unread = new Map<number, number>();
  readonly known = new Set<number>();

  constructor(capabilities: Capabilities, acceptsConnect: boolean, now: () => number) {
    const effects: MultiplexerEffects = {
      connect: (id) => {
        this.known.add(id);
        this.mux.accept(id);
      },
      opened: () => {},
      data: (id, piece) => {
        expect(this.ended.has(id)).toBe(false);
        this.received.set(id, [...(this.received.get(id) ?? []), ...piece]);
        this.unread.set(id, (this.unread.get(id) ?? 0) + piece.length);
      },
      ended: (id) => this.ended.set(id, "half"),
      closed: (id, end) => {
        expect(this.ended.get(id) ?? "half").toBe("half");
        this.ended.set(id, end.kind);
      },
      writable: () => {},
      draining: () => {},
      probeReply: () => {},
      readyToSend: () => {},
      overloaded: (error) => {
        throw error;
      },
    };
    this.mux = new Multiplexer({ capabilities, sessionName: "node/1", acceptsConnect, now, effects });
  }

  /** Moves at most `count` frames to the other end. */
  sendTo(other: End, count: number): number {
    for (let sent = 0; sent < count; sent++) {
      const frame = this.mux.next();
      if (frame === undefined) return sent;
      const payload = Buffer.concat(frame.pieces);
      if (frame.type === frameTypes.data) other.mux.receiveData(frame.connectionId, payload, true);
      else other.mux.receive(frame.type, frame.connectionId, payload);
    }
    return count;
  }

  read(id: number): void {
    const bytes = this.unread.get(id) ?? 0;
    this.unread.set(id, 0);
    this.mux.consumed(id, bytes);
  }
}

type Step =
  | { kind: "open" }
  | { kind: "write"; who: "server" | "agent"; stream: number; size: number }
  | { kind: "read" | "end" | "abort"; who: "server" | "agent"; stream: number }
  | { kind: "carry"; who: "server" | "agent"; count: number }
  | { kind: "wait"; ms: number };

const who = fc.constantFrom("server" as const, "agent" as const);
const stream = fc.nat({ max: 5 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("open" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("write" as const), who, stream, size: fc.nat({ max: 200_000 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("read" as const), who, stream }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom("end" as const, "abort" as const), who, stream }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("carry" as const), who, count: fc.nat({ max: 20 }) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.nat({ max: 3_000 }) }) },
);

describe.each([
  { name: "with extensions", capabilities: allCapabilities, windowBytes: 256 * 1024 },
  { name: "with Pause and Resume", capabilities: noCapabilities, windowBytes: Number.POSITIVE_INFINITY },
])("two multiplexers $name", ({ capabilities, windowBytes }) => {
  test("deliver every stream's bytes in order, end each once, and forget all", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        let nowMs = 0;
        const now = (): number => nowMs;
        const ends = { server: new End(capabilities, false, now), agent: new End(capabilities, true, now) };
        const written = { server: new Map<number, number[]>(), agent: new Map<number, number[]>() };
        const aborted = new Set<number>();
        const stopped = { server: new Set<number>(), agent: new Set<number>() };
        const ids: number[] = [];
        let next = 0;
        const other = { server: "agent", agent: "server" } as const;
        for (const action of steps) {
          if (action.kind === "open") {
            ids.push(ends.server.mux.open("tcp", "127.0.0.1:10250"));
            continue;
          }
          if (action.kind === "wait") {
            nowMs += action.ms;
            for (const end of Object.values(ends)) end.mux.tick();
            continue;
          }
          if (action.kind === "carry") {
            ends[action.who].sendTo(ends[other[action.who]], action.count);
            continue;
          }
          const id = ids[action.stream % Math.max(1, ids.length)];
          if (id === undefined || (action.who === "agent" && !ends.agent.known.has(id))) continue;
          const end = ends[action.who];
          if (action.kind === "read") end.read(id);
          else if (action.kind === "abort") {
            aborted.add(id);
            stopped[action.who].add(id);
            end.mux.close(id);
          } else if (action.kind === "end") {
            stopped[action.who].add(id);
            end.mux.endWrite(id);
          } else if (
            action.kind === "write" &&
            !stopped[action.who].has(id) &&
            (end.ended.get(id) ?? "half") === "half"
          ) {
            const bytes = Buffer.alloc(action.size, Buffer.from([next++ % 251, next++ % 251, next++ % 251]));
            end.mux.write(id, bytes);
            written[action.who].set(id, [...(written[action.who].get(id) ?? []), ...bytes]);
          }
          for (const bytes of ends.server.unread.values()) expect(bytes).toBeLessThanOrEqual(windowBytes);
        }
        // Let everything through: all read, all ended, time passes for what only time ends.
        for (let round = 0; round < 400; round++) {
          for (const id of ids) for (const end of Object.values(ends)) end.read(id);
          if (round === 1) {
            for (const id of ids) for (const side of ["server", "agent"] as const) ends[side].mux.endWrite(id);
          }
          const moved = ends.server.sendTo(ends.agent, 1_000) + ends.agent.sendTo(ends.server, 1_000);
          if (moved === 0 && round > 1) {
            nowMs += 2_500;
            for (const end of Object.values(ends)) end.mux.tick();
          }
          if (ends.server.mux.streamCount + ends.agent.mux.streamCount === 0 && moved === 0) break;
        }
        expect([ends.server.mux.streamCount, ends.agent.mux.streamCount]).toEqual([0, 0]);
        for (const id of ids) {
          for (const side of ["server", "agent"] as const) {
            const sent = Buffer.from(written[other[side]].get(id) ?? []);
            const got = Buffer.from(ends[side].received.get(id) ?? []);
            expect(sent.subarray(0, got.length).equals(got)).toBe(true);
            // Without half-close the first end takes the other direction with it, as in stock.
            if (!aborted.has(id) && capabilities.halfclose) expect(got.length).toBe(sent.length);
          }
        }
      }),
      { numRuns: 60 },
    );
  });
});

test("an agent lists its streams once a minute, and waits while one has just been opened", () => {
  let nowMs = 0;
  const agent = new End(noCapabilities, true, () => nowMs);
  const sent = (): string[] => {
    agent.mux.syncIfQuiet();
    const frames: string[] = [];
    for (let frame = agent.mux.next(); frame !== undefined; frame = agent.mux.next()) {
      frames.push(`${frame.type} ${Buffer.concat(frame.pieces).toString("hex")}`);
    }
    return frames;
  };
  agent.mux.receive(frameTypes.connect, 3, Buffer.from("tcp/127.0.0.1:10250"));
  nowMs = 59_000;
  agent.mux.receive(frameTypes.connect, 2, Buffer.from("tcp/127.0.0.1:10250"));
  expect(sent()).toEqual([]);
  nowMs = 60_500;
  expect(sent()).toEqual([]);
  nowMs = 61_000;
  expect(sent()).toEqual([`${frameTypes.syncConnections} 02000000000000000300000000000000`]);
  nowMs = 120_000;
  expect(sent()).toEqual([]);
});

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkHistory, type History } from "../src/history/check.ts";
import { judgeLinearizability } from "../src/history/linearizability.ts";
import type { Answer, Call, Operation, WatchedEvent } from "../src/history/operation.ts";

const never = Number.POSITIVE_INFINITY;

function operation(client: number, startMs: number, endMs: number, call: Call, answer?: Answer, key = "k"): Operation {
  return { client, key, startMs, endMs: answer === undefined ? never : endMs, call, answer };
}
const put = (startMs: number, endMs: number, value: string, revision: number): Operation =>
  operation(1, startMs, endMs, { kind: "put", value }, { revision });
const lostPut = (startMs: number, value: string): Operation => operation(1, startMs, never, { kind: "put", value });
const read = (
  startMs: number,
  endMs: number,
  value: string | undefined,
  modRevision?: number,
  revision = modRevision ?? 1,
): Operation =>
  operation(
    2,
    startMs,
    endMs,
    { kind: "read" },
    { value, revision, ...(modRevision === undefined ? {} : { modRevision }) },
  );
const update = (
  startMs: number,
  endMs: number,
  expected: string,
  value: string,
  succeeded: boolean,
  revision: number,
): Operation => operation(3, startMs, endMs, { kind: "update", expected, value }, { succeeded, revision });
const remove = (startMs: number, endMs: number, succeeded: boolean, revision: number): Operation =>
  operation(4, startMs, endMs, { kind: "delete" }, { succeeded, revision });

const isLinearizable = (operations: Operation[]): boolean => judgeLinearizability(operations) === "linearizable";

describe("linearizability of one key", () => {
  it("accepts what a register could have answered", () => {
    expect(isLinearizable([])).toBe(true);
    expect(isLinearizable([read(0, 1, undefined), put(2, 3, "a", 2), read(4, 5, "a", 2)])).toBe(true);
    // Overlapping writes: readers agree on an order.
    expect(isLinearizable([put(0, 10, "a", 2), put(0, 10, "b", 3), read(1, 2, "a", 2), read(3, 4, "b", 3)])).toBe(true);
    expect(
      isLinearizable([
        put(0, 1, "a", 2),
        update(2, 3, "a", "b", true, 3),
        update(4, 5, "a", "c", false, 3),
        remove(6, 7, true, 4),
        remove(8, 9, false, 4),
      ]),
    ).toBe(true);
  });

  it("lets a write without an answer happen late or never", () => {
    expect(isLinearizable([put(0, 1, "a", 2), lostPut(2, "b"), read(3, 4, "a", 2), read(5, 6, "b", 3)])).toBe(true);
    expect(isLinearizable([put(0, 1, "a", 2), lostPut(2, "b"), read(3, 4, "a", 2)])).toBe(true);
  });

  it.each<[string, Operation[]]>([
    ["a stale read", [put(0, 1, "a", 2), put(2, 3, "b", 3), read(4, 5, "a", 2)]],
    ["a lost write", [put(0, 1, "a", 2), read(2, 3, undefined)]],
    ["a value nobody wrote", [put(0, 1, "a", 2), read(2, 3, "z", 9)]],
    ["a value from the future", [read(0, 1, "a", 2), put(2, 3, "a", 2)]],
    [
      "two updates that both found the same value",
      [put(0, 1, "a", 2), update(2, 5, "a", "b", true, 3), update(2, 5, "a", "c", true, 4)],
    ],
    ["an update refused without reason", [put(0, 1, "a", 2), update(2, 3, "a", "b", false, 2)]],
    ["a deletion that deleted nothing", [put(0, 1, "a", 2), remove(2, 3, false, 2)]],
    [
      "readers that disagree about the order",
      [put(0, 10, "a", 2), put(0, 10, "b", 3), read(1, 2, "a", 2), read(3, 4, "b", 3), read(5, 6, "a", 2)],
    ],
    ["a lost write that comes and goes", [put(0, 1, "a", 2), lostPut(2, "b"), read(3, 4, "b", 3), read(5, 6, "a", 2)]],
  ])("refuses %s", (_, operations) => {
    expect(isLinearizable(operations)).toBe(false);
  });

  it("accepts every history made by running operations one after the other and blurring their times", () => {
    const calls = fc.array(
      fc.record({
        what: fc.nat({ max: 3 }),
        before: fc.nat({ max: 30 }),
        after: fc.nat({ max: 30 }),
        isLost: fc.nat({ max: 9 }),
      }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(calls, (script) => {
        let state: string | undefined;
        const operations = script.map(({ what, before, after, isLost }, index) => {
          const [startMs, endMs] = [index * 10 - before, index * 10 + after];
          const value = `v${index}`;
          const before_ = state;
          if (what === 0) return read(startMs, endMs, state);
          if (what === 1) {
            state = value;
            return isLost === 0 ? lostPut(startMs, value) : put(startMs, endMs, value, index);
          }
          if (what === 2) {
            state = undefined;
            return remove(startMs, endMs, before_ !== undefined, index);
          }
          const expected = index % 2 === 0 ? (state ?? "none") : "other";
          const holds = state === expected;
          if (holds) state = value;
          return update(startMs, endMs, expected, value, holds, index);
        });
        expect(isLinearizable(operations)).toBe(true);
      }),
    );
  });
});

describe("a recorded history", () => {
  const event = (revision: number, value: string | undefined, before?: string, key = "k"): WatchedEvent => ({
    key,
    value,
    revision,
    before,
  });
  const events = [event(2, "a"), event(3, "b", "a"), event(4, undefined, "b"), event(5, "c")];
  const right: History = {
    operations: [put(0, 1, "a", 2), put(2, 3, "b", 3), read(4, 5, "b", 3), remove(6, 7, true, 4), put(8, 9, "c", 5)],
    log: { name: "log", afterRevision: 1, events },
    watches: [{ name: "late", afterRevision: 3, events: events.slice(2) }],
    final: new Map([["k", "c"]]),
  };
  const rules = (history: History): string[] => [...new Set(checkHistory(history).map(({ rule }) => rule))];
  const watching = (told: WatchedEvent[]): History => ({
    ...right,
    watches: [{ name: "watch", afterRevision: 1, events: told }],
  });

  it("passes when it is right", () => {
    expect(checkHistory(right)).toEqual([]);
    expect(checkHistory(watching(events))).toEqual([]);
  });

  it("fails when an acknowledged write is missing from the log", () => {
    expect(rules({ ...right, operations: [...right.operations, put(10, 11, "d", 6)] })).toContain("log");
  });

  it("fails when the log holds what nobody wrote, or a wrong previous value, or a wrong end", () => {
    const log = (list: WatchedEvent[]): History => ({ ...right, log: { ...right.log, events: list }, watches: [] });
    expect(rules(log([...events, event(6, "x", "c")]))).toContain("log");
    expect(rules(log([events[0]!, event(3, "b", "z"), ...events.slice(2)]))).toContain("log");
    expect(rules({ ...right, final: new Map([["k", "b"]]) })).toContain("log");
    expect(rules({ ...right, final: new Map() })).toContain("log");
  });

  it("fails when a watch misses, repeats, reorders or invents an event", () => {
    const [first, second, third, fourth] = events as [WatchedEvent, WatchedEvent, WatchedEvent, WatchedEvent];
    expect(rules(watching([first, third, fourth]))).toEqual(["watch"]);
    expect(rules(watching([first, second]))).toEqual(["watch"]);
    expect(rules(watching([first, second, second, third, fourth]))).toEqual(["watch"]);
    expect(rules(watching([second, first, third, fourth]))).toEqual(["watch"]);
    expect(rules(watching([...events, event(6, "d", "c")]))).toEqual(["watch"]);
    // Before its start it has no business.
    expect(rules({ ...right, watches: [{ name: "late", afterRevision: 3, events }] })).toEqual(["watch"]);
  });

  it("fails when a revision goes back in real time", () => {
    expect(rules({ ...right, operations: [...right.operations, read(20, 21, "c", 5, 4)] })).toEqual(["revisions"]);
    const reused = [put(0, 1, "a", 2), put(2, 3, "b", 2)];
    expect(rules({ ...right, operations: reused })).toContain("revisions");
  });

  it("fails when a read shows a value with another revision than its own", () => {
    expect(rules({ ...right, operations: [...right.operations, read(20, 21, "c", 3, 5)] })).toEqual(["revisions"]);
  });

  it("fails when two replicas show different orders", () => {
    const operations = [...right.operations.slice(0, 2), read(10, 11, "a", 2, 5)];
    expect(rules({ ...right, operations })).toContain("linearizable");
  });
});

import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ResponseMemory } from "../src/server/response-memory.ts";

const mib = 1 << 20;

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

describe("memory of responses", () => {
  it("gives exactly as many bytes as asked for, whatever was given back before", () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 9 * mib }), { maxLength: 20 }), (sizes) => {
        const memory = new ResponseMemory();
        for (const size of sizes) {
          const response = memory.take(size);
          expect(response.length).toBe(size);
          memory.giveBack(response);
        }
      }),
      { numRuns: 50 },
    );
  });

  it("uses memory again that was given back, and never twice at once", () => {
    const memory = new ResponseMemory();
    const first = memory.take(500_000);
    expect(memory.take(500_000).buffer).not.toBe(first.buffer);
    memory.giveBack(first);
    memory.giveBack(first);
    const again = memory.take(499_000);
    expect(again.buffer).toBe(first.buffer);
    expect(memory.take(499_000).buffer).not.toBe(first.buffer);
  });

  it("leaves small, huge and foreign memory alone", () => {
    const memory = new ResponseMemory();
    for (const response of [memory.take(100), memory.take(9 * mib), Buffer.allocUnsafeSlow(mib)]) {
      expect(memory.isOwn(response)).toBe(false);
      memory.giveBack(response);
    }
    expect(memory.keptBytes).toBe(0);
  });

  it("keeps no more than 32 MiB", () => {
    const memory = new ResponseMemory();
    const responses = Array.from({ length: 50 }, () => memory.take(mib));
    for (const response of responses) memory.giveBack(response);
    expect(memory.keptBytes).toBe(32 * mib);
  });

  it("lets go of what nobody wanted for a while", () => {
    const memory = new ResponseMemory();
    memory.giveBack(memory.take(mib));
    vi.advanceTimersByTime(5_000);
    memory.giveBack(memory.take(mib));
    vi.advanceTimersByTime(5_000);
    expect(memory.keptBytes).toBe(mib);
    vi.advanceTimersByTime(5_000);
    expect(memory.keptBytes).toBe(0);
  });
});

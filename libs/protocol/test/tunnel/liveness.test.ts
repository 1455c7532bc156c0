import fc from "fast-check";
import { expect, test } from "vitest";
import { Liveness, pingIntervalMs } from "../../src/tunnel/liveness.ts";

const deadlineMs = 15_000;

test("a peer is dead exactly when nothing was heard for the deadline, whatever else happened", () => {
  const step = fc.record({
    afterMs: fc.integer({ min: 0, max: 20_000 }),
    event: fc.constantFrom("heard", "pinged", "ponged", "nothing"),
  });
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const liveness = new Liveness(deadlineMs, 0);
      let nowMs = 0;
      let heardMs = 0;
      let pingedMs = 0;
      for (const { afterMs, event } of steps) {
        nowMs += afterMs;
        if (event === "heard") {
          liveness.heard(nowMs);
          heardMs = nowMs;
        } else if (event === "pinged") {
          liveness.pinged(nowMs);
          pingedMs = nowMs;
        } else if (event === "ponged") {
          const isExpected = liveness.awaitsPong;
          liveness.ponged(nowMs);
          if (isExpected) expect(liveness.roundTripMs).toBe(nowMs - pingedMs);
          expect(liveness.awaitsPong).toBe(false);
        }
        expect(liveness.isDead(nowMs)).toBe(nowMs - heardMs >= deadlineMs);
        expect(liveness.isPingDue(nowMs)).toBe(nowMs - pingedMs >= pingIntervalMs - 1);
      }
    }),
  );
});

test("a pong that nobody asked for says nothing about the way", () => {
  const liveness = new Liveness(deadlineMs, 0);
  liveness.ponged(100);
  expect(liveness.roundTripMs).toBeUndefined();
});

import { ManualClock } from "@keelson/service";
import fc from "fast-check";
import { expect, test } from "vitest";
import { InFlight, type Release } from "../src/limits/in-flight.ts";

const options = { limit: 2, waiting: 3, maxWaitMs: 100 };

test("places are given up to the limit, then the queue fills, then requests are turned away", async () => {
  const inFlight = new InFlight(options, new ManualClock());
  const first = inFlight.enter() as Release;
  expect(inFlight.enter()).toBeTypeOf("function");
  const queued = [inFlight.enter(), inFlight.enter(), inFlight.enter()];
  expect(inFlight.enter()).toBeUndefined();
  first();
  first();
  expect(await queued[0]).toBeTypeOf("function");
  expect(inFlight).toMatchObject({ running: 2, waiting: 2 });
});

test("whoever waits too long is turned away, and takes no place later", async () => {
  const clock = new ManualClock();
  const inFlight = new InFlight({ ...options, limit: 1 }, clock);
  const first = inFlight.enter() as Release;
  const queued = inFlight.enter();
  clock.advance(100);
  expect(await queued).toBeUndefined();
  first();
  expect(inFlight).toMatchObject({ running: 0, waiting: 0 });
});

test("however requests come, go and wait, the limits hold and nobody is forgotten", async () => {
  const event = fc.oneof(fc.constant("enter"), fc.constant("leave"), fc.constant("wait"));
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 60 }), async (events) => {
      const clock = new ManualClock();
      const inFlight = new InFlight(options, clock);
      const held: Release[] = [];
      let entered = 0;
      let settled = 0;
      const settle = (release: Release | undefined): void => {
        settled++;
        if (release !== undefined) held.push(release);
      };
      for (const kind of events) {
        if (kind === "enter") {
          entered++;
          const place = inFlight.enter();
          if (place instanceof Promise) void place.then(settle);
          else settle(place);
        } else if (kind === "leave") held.shift()?.();
        else clock.advance(40);
        await Promise.resolve();
        expect(inFlight.running).toBeLessThanOrEqual(options.limit);
        expect(inFlight.waiting).toBeLessThanOrEqual(options.waiting);
        if (inFlight.waiting > 0) expect(inFlight.running).toBe(options.limit);
      }
      clock.advance(1_000);
      await new Promise((resolve) => setImmediate(resolve));
      expect(settled).toBe(entered);
      expect(inFlight).toMatchObject({ running: held.length, waiting: 0 });
      expect(clock.pendingTimers).toBe(0);
    }),
  );
});

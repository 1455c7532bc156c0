import { expect, test } from "vitest";
import { ManualClock, Rounds } from "../src/index.ts";

function setUp() {
  const clock = new ManualClock();
  const errors: unknown[] = [];
  const begun: PromiseWithResolvers<void>[] = [];
  const round = (): Promise<void> => {
    const gate = Promise.withResolvers<void>();
    begun.push(gate);
    return gate.promise;
  };
  const rounds = new Rounds(round, { clock, periodMs: 1_000, onError: (error) => errors.push(error) });
  return { clock, errors, begun, rounds };
}

test("one round runs at a time, and a request during a round joins it", async () => {
  const { clock, begun, rounds } = setUp();
  rounds.start();
  expect(begun).toHaveLength(0);
  clock.advance(3_000);
  expect(begun).toHaveLength(1);
  const joined = rounds.now();
  expect(begun).toHaveLength(1);
  begun[0]!.resolve();
  await joined;
  expect(begun).toHaveLength(1);
  clock.advance(1_000);
  expect(begun).toHaveLength(2);
});

test("a failed round is told of, and the next one still runs", async () => {
  const { clock, errors, begun, rounds } = setUp();
  rounds.start();
  const first = rounds.now();
  const error = new Error("no answer");
  begun[0]!.reject(error);
  await first;
  expect(errors).toEqual([error]);
  clock.advance(1_000);
  expect(begun).toHaveLength(2);
});

test("stop waits for the running round and leaves no timer", async () => {
  const { clock, begun, rounds } = setUp();
  rounds.start();
  void rounds.now();
  let stopped = false;
  const stop = rounds.stop().then(() => {
    stopped = true;
  });
  expect(clock.pendingTimers).toBe(0);
  await Promise.resolve();
  expect(stopped).toBe(false);
  begun[0]!.resolve();
  await stop;
  clock.advance(5_000);
  expect(begun).toHaveLength(1);
});

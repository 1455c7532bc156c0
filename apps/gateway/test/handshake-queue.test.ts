import { ManualClock } from "@keelson/service";
import { expect, test } from "vitest";
import { HandshakeQueue } from "../src/listener/handshake-queue.ts";

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

async function turns(count: number): Promise<void> {
  for (let index = 0; index < count; index++) await turn();
}

test("handshakes start in the order of arrival, a few per turn, so many at once and no more", async () => {
  const queue = new HandshakeQueue(new ManualClock());
  const started: number[] = [];
  const overs = Array.from({ length: 400 }, (_, index) => queue.push(() => started.push(index)));
  await turn();
  const perTurn = started.length;
  expect(perTurn).toBeGreaterThan(0);
  expect(perTurn).toBeLessThan(10);
  await turns(200);
  const limit = started.length;
  expect(limit).toBeLessThan(200);
  for (const over of overs) {
    over();
    await turns(2);
  }
  expect(started).toEqual(Array.from({ length: 400 }, (_, index) => index).slice(0, started.length));
});

test("peers that never finish keep nobody out for long", async () => {
  const clock = new ManualClock();
  const queue = new HandshakeQueue(clock);
  let started = 0;
  for (let index = 0; index < 400; index++) queue.push(() => started++);
  for (let round = 0; round < 10; round++) {
    await turns(100);
    clock.advance(250);
  }
  expect(started).toBe(400);
});

test("a connection that is gone before its turn costs no turn", async () => {
  const queue = new HandshakeQueue(new ManualClock());
  let started = 0;
  const overs = Array.from({ length: 100 }, () => queue.push(() => started++));
  for (const over of overs) over();
  let last = false;
  queue.push(() => {
    last = true;
  });
  await turns(60);
  expect({ started, last }).toEqual({ started: 0, last: true });
});

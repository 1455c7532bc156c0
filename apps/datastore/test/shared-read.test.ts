import { expect, test } from "vitest";
import { SharedRead } from "../src/log/sql/shared-read.ts";

/** A database that answers each query when it is told to. */
function slowDatabase() {
  const queries: { ids: readonly number[]; answer: () => void; fail: (error: Error) => void }[] = [];
  const waiting: (() => void)[] = [];
  const read = new SharedRead(
    (ids) =>
      new Promise((resolve, reject) => {
        queries.push({ ids, answer: () => resolve(ids.map(storedAt)), fail: reject });
        for (const wake of waiting.splice(0)) wake();
      }),
  );
  const query = async (number: number) => {
    while (queries.length <= number) await new Promise<void>((resolve) => waiting.push(resolve));
    return queries[number]!;
  };
  return { read, query, queries };
}

const storedAt = (id: number): Buffer | undefined => (id === 404 ? undefined : Buffer.from(`value ${id}`));

test("reads of one turn share a query that names each row once, and each gets its own values", async () => {
  const { read, query, queries } = slowDatabase();
  const answers = Promise.all([read.ask([3, 1]), read.ask([1]), read.ask([404, 3])]);
  (await query(0)).answer();
  expect(await answers).toEqual([[storedAt(3), storedAt(1)], [storedAt(1)], [undefined, storedAt(3)]]);
  expect(queries.map(({ ids }) => ids)).toEqual([[3, 1, 404]]);
});

test("reads that come while a query runs share the next one", async () => {
  const { read, query } = slowDatabase();
  const first = read.ask([1]);
  const running = await query(0);
  const later = Promise.all([read.ask([1]), read.ask([2])]);
  running.answer();
  expect(await first).toEqual([storedAt(1)]);
  const next = await query(1);
  expect(next.ids).toEqual([1, 2]);
  next.answer();
  expect(await later).toEqual([[storedAt(1)], [storedAt(2)]]);
});

test("a query that fails is the failure of those who shared it, and of nobody after them", async () => {
  const { read, query } = slowDatabase();
  const failed = Promise.allSettled([read.ask([1]), read.ask([2])]);
  const running = await query(0);
  const later = read.ask([3]);
  running.fail(new Error("connection lost"));
  expect((await failed).map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  (await query(1)).answer();
  expect(await later).toEqual([storedAt(3)]);
});

test("a crowd of long lists is served in several queries", async () => {
  const { read, query, queries } = slowDatabase();
  const page = (number: number): number[] => Array.from({ length: 500 }, (_, at) => number * 500 + at + 1_000);
  const pages = Promise.all(Array.from({ length: 6 }, (_, number) => read.ask(page(number))));
  (await query(0)).answer();
  (await query(1)).answer();
  expect((await pages).map((values) => values.length)).toEqual([500, 500, 500, 500, 500, 500]);
  expect(queries.map(({ ids }) => ids.length)).toEqual([2_000, 1_000]);
});

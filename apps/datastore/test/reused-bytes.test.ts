import fc from "fast-check";
import { expect, test } from "vitest";
import { ReusedBytes } from "../src/log/sql/reused-bytes.ts";

test("every copy since the last reuse keeps its bytes, whatever sizes came before", () => {
  const bytes = new ReusedBytes();
  const length = fc.oneof(fc.nat(2_000), fc.nat(300_000), fc.nat(5_000_000));
  fc.assert(
    fc.property(fc.array(length, { maxLength: 30 }), (lengths) => {
      bytes.reuse();
      const copies = lengths.map((size, at) => bytes.copy(Buffer.alloc(size, at + 1)));
      for (const [at, copy] of copies.entries()) {
        expect(copy.length).toBe(lengths[at]);
        expect(copy[0] ?? at + 1).toBe(at + 1);
        expect(copy.at(-1) ?? at + 1).toBe(at + 1);
      }
    }),
    { numRuns: 50 },
  );
});

test("copies of an ordinary page share one block, page after page", () => {
  const bytes = new ReusedBytes();
  const page = (): ArrayBufferLike[] => Array.from({ length: 500 }, () => bytes.copy(Buffer.alloc(1_024)).buffer);
  const blocks = new Set(page());
  bytes.reuse();
  for (const block of page()) blocks.add(block);
  expect(blocks.size).toBe(1);
});

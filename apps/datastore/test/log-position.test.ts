import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { StoredRow } from "../src/log/append-log.ts";
import { LogPosition } from "../src/log/sql/log-position.ts";
import type { CountedLook } from "../src/log/sql/sequencer.ts";

const start = { lastId: 10, changeSeq: 3, era: 7, compactedRevision: -1, settings: new Map([["alarm", "1"]]) };

/** A look at the rows above `afterId` of a log that ends at `lastId`; `missing` ids were compacted away before it. */
function look(afterId: number, lastId: number, over: Partial<CountedLook> = {}, missing: number[] = []): CountedLook {
  const ids = Array.from({ length: Math.max(0, lastId - afterId) }, (_, index) => afterId + 1 + index);
  const rows = ids.filter((id) => !missing.includes(id)).map((id) => ({ id }) as StoredRow);
  const page = { rows, seen: rows.length, lastId: rows.at(-1)?.id };
  return {
    afterId,
    lastId,
    changeSeq: 3,
    era: 7,
    compactedRevision: -1,
    leases: [],
    settings: undefined,
    page,
    ...over,
  };
}

const commit = (lastId: number) => ({
  memberId: 1n,
  batchNumber: 1,
  rows: [],
  leases: [],
  settings: new Map<string, string | undefined>(),
  compactedRevision: undefined,
  lastId,
  changeSeq: 3,
  era: 7,
});

describe("a replica's position in the shared log", () => {
  it("hands every row over once and in order, however looks that began earlier overtake each other", () => {
    const step = fc.record({ own: fc.boolean(), rows: fc.nat(5), beginsEarlier: fc.nat(8) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const position = new LogPosition(start);
        const handed: number[] = [];
        const own = new Set<number>();
        let end = start.lastId;
        for (const { own: isOwn, rows, beginsEarlier } of steps) {
          const before = end;
          end += rows;
          if (isOwn && position.cursor.id === before) {
            for (let id = before + 1; id <= end; id++) own.add(id);
            position.advance(commit(end));
            continue;
          }
          const seen = look(Math.max(start.lastId, position.cursor.id - beginsEarlier), end);
          expect(position.hasLostTrack(seen)).toBe(false);
          for (const { id } of position.absorb(seen)?.rows ?? []) handed.push(id);
          expect(position.cursor.id).toBe(end);
        }
        const foreign = Array.from(
          { length: position.cursor.id - start.lastId },
          (_, index) => start.lastId + 1 + index,
        );
        expect(handed).toEqual(foreign.filter((id) => !own.has(id)));
      }),
    );
  });

  it("notices a hole, a log that went back, and another era", () => {
    const position = new LogPosition(start);
    expect(position.hasLostTrack(look(10, 14, {}, [12]))).toBe(true);
    expect(position.hasLostTrack(look(10, 9))).toBe(true);
    expect(position.hasLostTrack(look(10, 14, { era: 8 }))).toBe(true);
    expect(position.hasLostTrack(look(10, 14))).toBe(false);
  });

  it("asks for durability of what is new, once", () => {
    const position = new LogPosition(start);
    expect(position.isDurable(look(10, 10))).toBe(true);
    const news = look(10, 12);
    expect(position.isDurable(news)).toBe(false);
    position.noteDurable(news);
    expect(position.isDurable(look(10, 11))).toBe(true);
    expect(position.isDurable(look(10, 13))).toBe(false);
    position.advance(commit(13));
    expect(position.isDurable(look(10, 13))).toBe(true);
  });

  it("follows the settings and compactions of others and its own", () => {
    const position = new LogPosition(start);
    const changed = position.absorb(
      look(10, 10, { changeSeq: 4, settings: new Map([["quota", "2"]]), compactedRevision: 5 }),
    );
    expect(changed).toEqual({ rows: [], leases: [], compactedRevision: 5, settings: new Map([["quota", "2"]]) });
    position.advance({ ...commit(11), changeSeq: 5, settings: new Map([["quota", undefined]]), compactedRevision: 8 });
    expect([...position.settings]).toEqual([]);
    expect(position.compactedRevision).toBe(8);
    // Nothing that is known already is handed over again.
    expect(position.absorb(look(9, 11, { changeSeq: 5 }))).toBeUndefined();
  });
});

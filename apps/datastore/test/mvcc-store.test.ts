import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { keyRange } from "../src/engine/key-range.ts";
import { PurgePlan } from "../src/engine/purge-plan.ts";
import { MvccStore } from "../src/engine/store.ts";

/** The plainest store there is: what each revision looked like. */
class Model {
  readonly revisions: Map<string, number>[] = [new Map(), new Map()];

  get newest(): Map<string, number> {
    return this.revisions.at(-1)!;
  }

  /** Applies one transaction of single-key writes; values are the revision that wrote them. */
  write(puts: string[], deletes: string[]): void {
    const next = new Map(this.newest);
    const revision = this.revisions.length - 1 + puts.length + deletes.length;
    for (const key of puts) next.set(key, revision);
    for (const key of deletes) next.delete(key);
    // A transaction of n rows takes n revisions; nobody can see those before its last.
    while (this.revisions.length < revision) this.revisions.push(this.newest);
    this.revisions.push(next);
  }
}

type Step =
  | { kind: "write"; puts: string[]; deletes: string[] }
  | { kind: "fail"; puts: string[] }
  | { kind: "compact"; share: number }
  | { kind: "purge"; limit: number };

const key = fc.constantFrom("a", "ab", "b", "b\0", "c", "ca", "d", "\xff", "\xff\xff");
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("write" as const),
      puts: fc.uniqueArray(key, { maxLength: 3 }),
      deletes: fc.uniqueArray(key, { maxLength: 2 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("fail" as const), puts: fc.uniqueArray(key, { maxLength: 3 }) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("compact" as const), share: fc.double({ min: 0, max: 1, noNaN: true }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("purge" as const), limit: fc.integer({ min: 1, max: 5 }) }) },
);

function run(steps: readonly Step[]): { store: MvccStore; model: Model; purge: PurgePlan } {
  const store = new MvccStore();
  const purge = new PurgePlan(store);
  const model = new Model();
  const stage = (puts: readonly string[], deletes: readonly string[]): void => {
    const versions = [
      ...puts.map((k) => store.stage(k, "put", undefined)),
      ...deletes.map((k) => store.stage(k, "delete", undefined)),
    ];
    if (versions.length > 0) store.sealTransaction(versions);
  };
  for (const each of steps) {
    switch (each.kind) {
      case "write": {
        const deletes = each.deletes.filter((k) => model.newest.has(k) && !each.puts.includes(k));
        if (each.puts.length + deletes.length === 0) break;
        stage(each.puts, deletes);
        store.commit(store.head);
        model.write(each.puts, deletes);
        break;
      }
      case "fail":
        stage(each.puts, []);
        store.rollback();
        break;
      case "compact":
        store.compacted = Math.max(store.compacted, Math.floor(store.committed * each.share));
        break;
      case "purge":
        purge.forget(purge.take(each.limit));
    }
  }
  return { store, model, purge };
}

function readAll(store: MvccStore, range: { start: string; end: string | undefined }, revision: number) {
  const found = new Map<string, number>();
  store.index.scan(range, (entry) => {
    const version = entry.at(revision);
    if (version !== undefined) found.set(entry.key, version.revision);
    return true;
  });
  return found;
}

const everything = { start: "", end: undefined };

describe("the store against the plainest model", () => {
  it("shows every revision from the compacted one on exactly as it was", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { store, model } = run(steps);
        expect(store.committed).toBe(model.revisions.length - 1);
        for (let revision = Math.max(1, store.compacted); revision <= store.committed; revision++) {
          const shown = readAll(store, everything, revision);
          expect(shown).toEqual(new Map([...model.revisions[revision]!].sort(([a], [b]) => (a < b ? -1 : 1))));
        }
      }),
      { numRuns: 300 },
    );
  });

  it("counts any range at any revision", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), key, fc.oneof(key, fc.constant("\0")), (steps, from, to) => {
        const { store, model } = run(steps);
        const range = keyRange(from, to);
        for (let revision = Math.max(1, store.compacted); revision <= store.committed; revision++) {
          const wanted = [...model.revisions[revision]!.keys()].filter(
            (k) => k >= range.start && (range.end === undefined || k < range.end),
          );
          expect(store.count(range, revision)).toBe(wanted.length);
        }
      }),
      { numRuns: 300 },
    );
  });

  it("keeps, once compaction has caught up, only what a reader or a watch may still ask for", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const { store, purge } = run(steps);
        while (purge.pending) purge.forget(purge.take(3));
        store.index.scan(everything, ({ head }) => {
          for (let version = head; version !== undefined; version = version.previous) {
            const { previous } = version;
            // Nothing is left below the newest version that is at or below the compacted revision.
            if (version.revision <= store.compacted) expect(previous).toBeUndefined();
            if (version.version === 0 && previous === undefined && version === head) {
              expect(version.revision).toBeGreaterThanOrEqual(store.compacted);
            }
          }
          return true;
        });
      }),
      { numRuns: 300 },
    );
  });
});

it("finds keys among many, whatever the order they came in", () => {
  const store = new MvccStore();
  const keys = Array.from({ length: 5_000 }, (_, at) => `/k/${((at * 7_919) % 5_000).toString().padStart(5, "0")}`);
  for (const each of keys) store.stage(each, "put", undefined);
  store.commit(store.head);
  const sorted = keys.toSorted();
  expect([...readAll(store, everything, store.committed).keys()]).toEqual(sorted);
  for (const [from, to] of [
    [0, 5_000],
    [1, 4_999],
    [511, 513],
    [2_500, 2_500],
  ] as const) {
    const range = { start: sorted[from]!, end: sorted[to] };
    expect(store.index.countLive(range)).toBe(to - from);
  }
});

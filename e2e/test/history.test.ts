import { describe, expect, test } from "vitest";
import { History } from "../src/observer/history.ts";
import type { Observation } from "../src/observer/observation.ts";

function historyOf(...observations: Observation[]): History {
  const history = new History();
  for (const observation of observations) history.add(observation);
  return history;
}

const acknowledged = (name: string, atMs: number): Observation => ({
  kind: "acknowledged",
  name,
  revision: atMs,
  atMs,
  attempts: 1,
});
const watched = (name: string, revision: number): Observation => ({
  kind: "watched",
  type: "ADDED",
  name,
  revision,
  atMs: revision,
});
const final = (...names: string[]): Observation => ({ kind: "final", names, atMs: 999 });

describe("a run", () => {
  test("without a fault has nothing to report", () => {
    const history = historyOf(
      acknowledged("a", 1),
      watched("a", 1),
      acknowledged("b", 2),
      watched("b", 2),
      final("a", "b"),
    );
    expect(history.verdict()).toEqual({
      acknowledged: 2,
      refused: 0,
      lost: [],
      unseen: [],
      repeated: [],
      disordered: [],
    });
  });

  test("that lost an acknowledged write says which", () => {
    expect(historyOf(acknowledged("a", 1), watched("a", 1), final()).verdict().lost).toEqual(["a"]);
  });

  test("whose watch has a hole says what it missed", () => {
    expect(
      historyOf(acknowledged("a", 1), acknowledged("b", 2), watched("b", 2), final("a", "b")).verdict().unseen,
    ).toEqual(["a"]);
  });

  test("whose watch repeats or goes back is told so", () => {
    const verdict = historyOf(watched("a", 1), watched("b", 2), watched("a", 1), final("a", "b")).verdict();
    expect(verdict).toMatchObject({ repeated: ["a"], disordered: ["a"] });
  });

  test("may start over after an expired watch", () => {
    const history = historyOf(
      watched("a", 5),
      { kind: "expired", atMs: 6 },
      { kind: "listed", name: "b", atMs: 6 },
      final("a", "b"),
    );
    expect(history.verdict()).toMatchObject({ unseen: [], repeated: [], disordered: [] });
  });
});

test("an outage is the longest gap between acknowledgements in the window, its edges included", () => {
  const history = historyOf(
    acknowledged("a", 100),
    acknowledged("b", 200),
    acknowledged("c", 900),
    acknowledged("d", 1_000),
  );
  expect(history.outageMs(100, 1_000)).toBe(700);
  expect(history.outageMs(950, 5_000)).toBe(4_000);
  expect(history.outageMs(150, 400)).toBe(200);
});

import type { Observation } from "./observation.ts";

export interface Verdict {
  acknowledged: number;
  refused: number;
  /** Acknowledged and not there at the end. */
  lost: string[];
  /** There at the end, and never seen by the watch. */
  unseen: string[];
  /** Seen as new more than once by a watch that was not started over. */
  repeated: string[];
  /** Seen at a revision that is not above the one before. */
  disordered: string[];
}

/** Everything the background client saw in one run, and the questions that a fault suite asks. */
export class History {
  readonly #observations: Observation[] = [];

  add(observation: Observation): void {
    this.#observations.push(observation);
  }

  get acknowledgements(): number {
    return this.#observations.filter(({ kind }) => kind === "acknowledged").length;
  }

  /** The longest time within the window in which no write was acknowledged, in milliseconds. */
  outageMs(fromMs: number, toMs: number): number {
    let longest = 0;
    let last = fromMs;
    for (const observation of this.#observations) {
      if (observation.kind !== "acknowledged" || observation.atMs < fromMs) continue;
      longest = Math.max(longest, Math.min(observation.atMs, toMs) - last);
      last = observation.atMs;
      if (last >= toMs) return longest;
    }
    return Math.max(longest, toMs - last);
  }

  /** The most attempts that a write acknowledged within the window has needed. */
  mostAttempts(fromMs: number, toMs: number): number {
    const attempts = this.#observations.map((observation) =>
      observation.kind === "acknowledged" && observation.atMs >= fromMs && observation.atMs <= toMs
        ? observation.attempts
        : 0,
    );
    return Math.max(0, ...attempts);
  }

  /** Why writes were refused within the window, each reason once. */
  refusals(fromMs: number, toMs: number): string[] {
    const reasons = this.#observations.flatMap((observation) =>
      observation.kind === "refused" && observation.atMs >= fromMs && observation.atMs <= toMs
        ? [observation.reason]
        : [],
    );
    return [...new Set(reasons)];
  }

  /** Judges a finished run. Throws when the client did not get to its final list. */
  verdict(): Verdict {
    const final = this.#observations.find((observation) => observation.kind === "final");
    if (final === undefined) throw new Error("the background client ended without its final list");
    const present = new Set(final.names);
    const verdict: Verdict = { acknowledged: 0, refused: 0, lost: [], unseen: [], repeated: [], disordered: [] };
    const seen = new Set<string>();
    let newInThisWatch = new Set<string>();
    let revision = 0;
    for (const observation of this.#observations) {
      switch (observation.kind) {
        case "acknowledged":
          verdict.acknowledged++;
          if (!present.has(observation.name)) verdict.lost.push(observation.name);
          break;
        case "refused":
          verdict.refused++;
          break;
        case "listed":
          seen.add(observation.name);
          break;
        case "expired":
          newInThisWatch = new Set();
          revision = 0;
          break;
        case "watched":
          seen.add(observation.name);
          if (observation.revision <= revision) verdict.disordered.push(observation.name);
          revision = observation.revision;
          if (observation.type !== "ADDED") break;
          if (newInThisWatch.has(observation.name)) verdict.repeated.push(observation.name);
          newInThisWatch.add(observation.name);
          break;
        case "final":
          break;
      }
    }
    verdict.unseen = final.names.filter((name) => !seen.has(name));
    return verdict;
  }
}

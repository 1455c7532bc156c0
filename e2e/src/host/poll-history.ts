/** One request of the poller; times are wall-clock milliseconds. */
export interface Poll {
  /** `read`: through the agent's load balancer; `logs`: a pod's log, asked of one server. */
  kind: "read" | "logs";
  target: string;
  startedMs: number;
  endedMs: number;
  /** Why it failed; left out when it was answered. */
  error?: string;
}

/** What the poller saw, and the questions that a fault asks. */
export class PollHistory {
  readonly #polls: Poll[] = [];

  add(poll: Poll): void {
    this.#polls.push(poll);
  }

  get answeredReads(): number {
    return this.#polls.filter(({ kind, error }) => kind === "read" && error === undefined).length;
  }

  failedReads(fromMs: number, toMs: number): readonly Poll[] {
    return this.#polls.filter(
      ({ kind, error, endedMs }) => kind === "read" && error !== undefined && endedMs >= fromMs && endedMs <= toMs,
    );
  }

  /** The longest time from one answered read to the next, of those that end within the window. */
  longestGapMs(fromMs: number, toMs: number): number {
    let longest = 0;
    let lastMs = fromMs;
    for (const { kind, error, endedMs } of this.#polls) {
      if (kind !== "read" || error !== undefined || endedMs < fromMs || endedMs > toMs) continue;
      longest = Math.max(longest, endedMs - lastMs);
      lastMs = endedMs;
    }
    return Math.max(longest, toMs - lastMs);
  }

  /** Around the longest gap: the reads before, within and after it, for people who ask where the time went. */
  aroundLongestGap(fromMs: number, toMs: number): readonly Poll[] {
    const reads = this.#polls.filter(({ kind, endedMs }) => kind === "read" && endedMs >= fromMs && endedMs <= toMs);
    let at = 0;
    for (let index = 1; index < reads.length; index++) {
      const gap = (n: number): number => reads[n]!.endedMs - reads[n - 1]!.endedMs;
      if (at === 0 || gap(index) > gap(at)) at = index;
    }
    return reads.slice(Math.max(0, at - 3), at + 3);
  }

  /** From `fromMs` until the server had answered for a pod's log for the first time; Infinity when it never did. */
  logsWithinMs(server: string, fromMs: number): number {
    const first = this.#polls.find(
      ({ kind, target, startedMs, error }) =>
        kind === "logs" && target === server && startedMs >= fromMs && error === undefined,
    );
    return first === undefined ? Number.POSITIVE_INFINITY : first.endedMs - fromMs;
  }

  /** The last failure of a server's logs, for reports. */
  lastLogFailure(server: string): string | undefined {
    return this.#polls.findLast(
      ({ kind, target, error }) => kind === "logs" && target === server && error !== undefined,
    )?.error;
  }
}

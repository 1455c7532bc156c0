/**
 * How far a learner has come, as K3s's leader keeps it in etcd under `k3s/etcd/learnerProgress`: it survives a change of
 * leader, and a stock k3s server reads it the same way.
 */
export interface LearnerProgress {
  id: bigint;
  name: string;
  raftAppliedIndex: number;
  /** Wall-clock milliseconds at which the index last moved. */
  lastProgressMs: number;
}

export const learnerProgressKey = "k3s/etcd/learnerProgress";

/** A learner that has not moved for this long is removed, so that it does not keep others from joining. */
export const learnerStallMs = 5 * 60_000;

export type LearnerAction = { kind: "wait"; progress: LearnerProgress } | { kind: "remove"; progress: LearnerProgress };

/**
 * What to do with a learner that could not be promoted yet. `appliedIndex` is undefined while it does not answer.
 */
export function judgeLearner(
  previous: LearnerProgress | undefined,
  learner: { id: bigint; name: string; appliedIndex: number | undefined },
  nowMs: number,
): LearnerAction {
  const known = previous?.id === learner.id ? previous : undefined;
  const index = learner.appliedIndex ?? known?.raftAppliedIndex ?? 0;
  const moved = known === undefined || index > known.raftAppliedIndex;
  const progress = {
    id: learner.id,
    name: learner.name,
    raftAppliedIndex: index,
    lastProgressMs: moved ? nowMs : known.lastProgressMs,
  };
  return { kind: nowMs - progress.lastProgressMs >= learnerStallMs ? "remove" : "wait", progress };
}

/** The JSON that K3s stores; the id is a 64-bit number. */
export function formatProgress(progress: LearnerProgress): string {
  const { id, name, raftAppliedIndex, lastProgressMs } = progress;
  const time = new Date(Math.floor(lastProgressMs / 1_000) * 1_000).toISOString().replace(".000Z", "Z");
  return `{"id":${id},"name":${JSON.stringify(name)},"raftAppliedIndex":${raftAppliedIndex},"lastProgress":"${time}"}`;
}

/** Reads what a leader stored; undefined when it is not readable, which only restarts the stall clock. */
export function parseProgress(text: string): LearnerProgress | undefined {
  const id = /"id":\s*(\d+)/.exec(text)?.[1];
  try {
    const entry = JSON.parse(text) as Record<string, unknown>;
    const lastProgressMs = Date.parse(String(entry.lastProgress));
    if (id === undefined || Number.isNaN(lastProgressMs)) return undefined;
    return {
      id: BigInt(id),
      name: String(entry.name ?? ""),
      raftAppliedIndex: Number(entry.raftAppliedIndex ?? 0),
      lastProgressMs,
    };
  } catch {
    return undefined;
  }
}

import { judgeLinearizability } from "./linearizability.ts";
import { changed, describeOperation, type Operation, type WatchedEvent, type WatchHistory } from "./operation.ts";

/** Everything that was recorded in one run. */
export interface History {
  operations: readonly Operation[];
  /** The whole log, watched from the first revision after all faults were healed. */
  log: WatchHistory;
  watches: readonly WatchHistory[];
  /** What the store held at the end. */
  final: ReadonlyMap<string, string>;
}

export interface Violation {
  rule: "linearizable" | "revisions" | "watch" | "log";
  text: string;
}

/** Judges a history by everything that etcd promises of it. An empty list means that nothing is wrong. */
export function checkHistory(history: History): Violation[] {
  return [
    ...checkLog(history),
    ...history.watches.flatMap((watch) => checkWatch(watch, history.log)),
    ...checkRevisions(history.operations),
    ...checkKeys(history),
  ];
}

/** The log itself: ordered, each previous value right, every acknowledged change in it, nothing nobody asked for, and its end the final state. */
function checkLog({ operations, log, final }: History): Violation[] {
  const violations: Violation[] = [];
  const complain = (text: string): void => void violations.push({ rule: "log", text });
  for (const problem of disorder(log)) complain(problem);
  const asked = new Set(operations.flatMap(({ call }) => ("value" in call ? [call.value] : [])));
  const state = new Map<string, string>();
  for (const event of log.events) {
    const before = state.get(event.key);
    if (event.before !== before)
      complain(`${describeEvent(event)}: previous value is told as ${event.before}, and was ${before}`);
    if (event.value === undefined) state.delete(event.key);
    else state.set(event.key, event.value);
    if (event.value !== undefined && !asked.has(event.value)) complain(`${describeEvent(event)}: nobody wrote that`);
  }
  const seen = new Map(log.events.map((event) => [eventId(event), event]));
  for (const operation of operations) {
    if (!changed(operation)) continue;
    const value = "value" in operation.call ? operation.call.value : undefined;
    const id = eventId({ key: operation.key, value, revision: operation.answer!.revision });
    if (!seen.has(id)) complain(`acknowledged, and not in the log: ${describeOperation(operation)}`);
  }
  for (const key of new Set([...state.keys(), ...final.keys()])) {
    if (state.get(key) !== final.get(key)) {
      complain(`${key} holds ${final.get(key)} at the end, and ${state.get(key)} by its last event`);
    }
  }
  return violations;
}

/** A watch: what the log holds after its start, in that order, each event once. */
function checkWatch(watch: WatchHistory, log: WatchHistory): Violation[] {
  const violations: Violation[] = [];
  const complain = (text: string): void => void violations.push({ rule: "watch", text: `${watch.name}: ${text}` });
  for (const problem of disorder(watch)) complain(problem);
  const expected = log.events.filter(({ revision }) => revision > watch.afterRevision);
  const delivered = new Set(watch.events.map(eventId));
  const known = new Set(expected.map(eventId));
  for (const event of expected) if (!delivered.has(eventId(event))) complain(`missed ${describeEvent(event)}`);
  for (const event of watch.events) if (!known.has(eventId(event))) complain(`invented ${describeEvent(event)}`);
  return violations;
}

/** Revisions never fall, and one revision changes a key once. */
function disorder({ events }: WatchHistory): string[] {
  const problems: string[] = [];
  let keys = new Set<string>();
  let last = 0;
  for (const event of events) {
    if (event.revision < last) problems.push(`${describeEvent(event)} came after revision ${last}`);
    if (event.revision !== last) keys = new Set();
    if (keys.has(event.key)) problems.push(`${describeEvent(event)} came twice`);
    keys.add(event.key);
    last = Math.max(last, event.revision);
  }
  return problems;
}

/**
 * Real time and revisions agree: what began after an operation was answered sees a revision at least as new, and a change
 * a newer one.
 */
function checkRevisions(operations: readonly Operation[]): Violation[] {
  const violations: Violation[] = [];
  const answered = operations.filter(({ answer }) => answer !== undefined);
  const byStart = [...answered].sort((a, b) => a.startMs - b.startMs);
  const byEnd = [...answered].sort((a, b) => a.endMs - b.endMs);
  let ended = 0;
  let newest: Operation | undefined;
  for (const operation of byStart) {
    for (; ended < byEnd.length && byEnd[ended]!.endMs < operation.startMs; ended++) {
      if (newest === undefined || byEnd[ended]!.answer!.revision > newest.answer!.revision) newest = byEnd[ended];
    }
    if (newest === undefined) continue;
    const { revision } = operation.answer!;
    const floor = newest.answer!.revision;
    if (revision < floor || (revision === floor && changed(operation))) {
      const text = `revision went back: ${describeOperation(operation)}, after ${describeOperation(newest)}`;
      violations.push({ rule: "revisions", text });
    }
  }
  return violations;
}

/** Every key's operations are linearizable, and every read names the revision of the value it shows. */
function checkKeys({ operations, log }: History): Violation[] {
  const violations: Violation[] = [];
  const revisionOf = new Map(
    log.events.flatMap(({ value, revision }) => (value === undefined ? [] : [[value, revision]])),
  );
  const deletions = new Map<string, number>();
  for (const { key, value } of log.events) {
    if (value === undefined) deletions.set(key, (deletions.get(key) ?? 0) + 1);
  }
  const byKey = Map.groupBy(operations, ({ key }) => key);
  for (const [key, all] of byKey) {
    for (const operation of all) {
      const { value, modRevision } = operation.answer ?? {};
      if (operation.call.kind !== "read" || value === undefined) continue;
      if (modRevision !== revisionOf.get(value)) {
        const text = `written at ${revisionOf.get(value)}: ${describeOperation(operation)}`;
        violations.push({ rule: "revisions", text });
      }
    }
    const verdict = judgeLinearizability(withoutIdle(all, revisionOf, deletions.get(key) ?? 0));
    if (verdict !== "linearizable") {
      const shown = [...all].sort((a, b) => a.startMs - b.startMs).map(describeOperation);
      violations.push({ rule: "linearizable", text: `${key} is ${verdict}:\n  ${shown.join("\n  ")}` });
    }
  }
  return violations;
}

/**
 * Whether a write without an answer happened is known from the log; one that did not is no part of the history. An event
 * of deletion names nobody: of the unanswered deletions as many can have happened as the log has beyond the answered
 * ones, and those that were asked first could have happened whenever the others could.
 */
function withoutIdle(
  all: readonly Operation[],
  revisionOf: ReadonlyMap<string, number>,
  deletions: number,
): Operation[] {
  let unexplained = deletions;
  for (const { call, answer } of all) if (call.kind === "delete" && answer?.succeeded) unexplained--;
  const byStart = [...all].sort((a, b) => a.startMs - b.startMs);
  return byStart.filter(({ call, answer }) => {
    if (answer !== undefined) return true;
    if (call.kind === "delete") return unexplained-- > 0;
    return call.kind !== "read" && revisionOf.has(call.value);
  });
}

function eventId({ key, value, revision }: Pick<WatchedEvent, "key" | "value" | "revision">): string {
  return `${revision} ${key} ${value ?? "deleted"}`;
}

function describeEvent({ key, value, revision }: WatchedEvent): string {
  return `${key} = ${value ?? "deleted"} at revision ${revision}`;
}

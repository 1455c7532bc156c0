/** What a client asked. Values are unique over a run, so that a value names the write that made it. */
export type Call =
  | { kind: "read" }
  | { kind: "put"; value: string }
  /** Put when the key still holds `expected`. */
  | { kind: "update"; expected: string; value: string }
  | { kind: "delete" };

/** What it was answered. */
export interface Answer {
  /** Of a read: what the key held, undefined when it did not exist. */
  value?: string | undefined;
  /** Of a read that found the key: its modification revision. */
  modRevision?: number;
  /** Of an update: whether the guard held. Of a delete: whether there was something to delete. */
  succeeded?: boolean;
  /** The response header's revision: of a write that changed something, the revision of the change. */
  revision: number;
}

/** One request on one key as a client saw it. Times are milliseconds of one monotonic clock. */
export interface Operation {
  client: number;
  key: string;
  call: Call;
  startMs: number;
  /** Infinity when the answer is unknown. */
  endMs: number;
  /** Undefined when the request failed: it may have happened, then or later, or not at all. */
  answer: Answer | undefined;
}

/** A change as a watch told it. */
export interface WatchedEvent {
  key: string;
  /** Undefined for a deletion. */
  value: string | undefined;
  revision: number;
  /** What the key held before, as the event's prev_kv says. */
  before: string | undefined;
}

/** Everything one watch delivered over all its reconnects. */
export interface WatchHistory {
  name: string;
  /** Events after this revision were asked for. */
  afterRevision: number;
  events: WatchedEvent[];
}

/** Whether an answered operation changed the store. */
export function changed(operation: Operation): boolean {
  const { call, answer } = operation;
  if (answer === undefined || call.kind === "read") return false;
  return call.kind === "put" || answer.succeeded === true;
}

export function describeOperation({ client, key, call, answer, startMs, endMs }: Operation): string {
  const asked = call.kind === "read" || call.kind === "delete" ? call.kind : `${call.kind} ${call.value}`;
  const guard = call.kind === "update" ? ` if ${call.expected}` : "";
  const told =
    answer === undefined
      ? "no answer"
      : call.kind === "read"
        ? `${answer.value ?? "absent"} (modified at ${answer.modRevision ?? "-"}, store at ${answer.revision})`
        : `${answer.succeeded === false ? "refused" : "done"} at ${answer.revision}`;
  return `${startMs.toFixed(1)}..${endMs.toFixed(1)} client ${client}, ${key}: ${asked}${guard} -> ${told}`;
}

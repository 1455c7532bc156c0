import type { Operation } from "./operation.ts";

/**
 * Whether operations on one key can be put into one order that respects real time and that a plain register could have
 * answered: the search of Wing and Gong with Lowe's memory of configurations already tried. An operation without an answer
 * may take effect at any time after its start, or never.
 */

/** Beginning or end of an operation, in a list from which the search takes them out and puts them back. */
interface Entry {
  operation: number;
  isCall: boolean;
  /** The other end; undefined for an operation without an answer. */
  match: Entry | undefined;
  previous: Entry | undefined;
  next: Entry | undefined;
}

/** The search is exponential where many operations overlap; a recorder that makes such histories is at fault itself. */
const maxConfigurations = 500_000;

/** A register holds a value or nothing. */
type State = string | undefined;
const impossible = Symbol("impossible");

export function judgeLinearizability(
  operations: readonly Operation[],
): "linearizable" | "not linearizable" | "too entangled to judge" {
  const head = entryList(operations);
  let open = operations.filter(({ answer }) => answer !== undefined).length;
  const done = new Uint8Array(operations.length);
  const tried = new Set<string>();
  const taken: { entry: Entry; state: State }[] = [];
  let state: State;
  let entry = head.next;
  while (open > 0) {
    if (tried.size > maxConfigurations) return "too entangled to judge";
    if (entry?.isCall) {
      const operation = operations[entry.operation]!;
      const after = apply(state, operation);
      if (after !== impossible && isNew(tried, done, entry.operation, after)) {
        taken.push({ entry, state });
        state = after;
        done[entry.operation] = 1;
        if (operation.answer !== undefined) open--;
        takeOut(entry);
        entry = head.next;
      } else {
        entry = entry.next;
      }
      continue;
    }
    // The end of an operation that has not taken effect, or of the list: the last choice was wrong.
    const last = taken.pop();
    if (last === undefined) return "not linearizable";
    state = last.state;
    done[last.entry.operation] = 0;
    if (operations[last.entry.operation]!.answer !== undefined) open++;
    putBack(last.entry);
    entry = last.entry.next;
  }
  return "linearizable";
}

/** The register after an operation, or {@link impossible} when it could not have answered that. */
function apply(state: State, { call, answer }: Operation): State | typeof impossible {
  switch (call.kind) {
    case "read":
      return answer === undefined || answer.value === state ? state : impossible;
    case "put":
      return call.value;
    case "update": {
      const holds = state === call.expected;
      if (answer !== undefined && answer.succeeded !== holds) return impossible;
      return holds ? call.value : state;
    }
    case "delete":
      if (answer !== undefined && answer.succeeded !== (state !== undefined)) return impossible;
      return undefined;
  }
}

function isNew(tried: Set<string>, done: Uint8Array, next: number, state: State): boolean {
  done[next] = 1;
  const key = `${Buffer.from(done).toString("latin1")}${state ?? "\u0002"}`;
  done[next] = 0;
  if (tried.has(key)) return false;
  tried.add(key);
  return true;
}

function entryList(operations: readonly Operation[]): Entry {
  const ends: { at: number; entry: Entry }[] = [];
  operations.forEach((operation, index) => {
    const call: Entry = { operation: index, isCall: true, match: undefined, previous: undefined, next: undefined };
    ends.push({ at: operation.startMs, entry: call });
    if (operation.answer === undefined) return;
    const end: Entry = { operation: index, isCall: false, match: call, previous: undefined, next: undefined };
    call.match = end;
    ends.push({ at: operation.endMs, entry: end });
  });
  // At one instant beginnings come first: the two operations may have overlapped.
  ends.sort((a, b) => a.at - b.at || Number(b.entry.isCall) - Number(a.entry.isCall));
  const head: Entry = { operation: -1, isCall: false, match: undefined, previous: undefined, next: undefined };
  let last = head;
  for (const { entry } of ends) {
    last.next = entry;
    entry.previous = last;
    last = entry;
  }
  return head;
}

function takeOut(call: Entry): void {
  for (const entry of call.match === undefined ? [call] : [call, call.match]) {
    entry.previous!.next = entry.next;
    if (entry.next !== undefined) entry.next.previous = entry.previous;
  }
}

/** In reverse order of {@link takeOut}, so that both find their neighbours as they were. */
function putBack(call: Entry): void {
  for (const entry of call.match === undefined ? [call] : [call.match, call]) {
    entry.previous!.next = entry;
    if (entry.next !== undefined) entry.next.previous = entry;
  }
}

import { keyRange } from "./key-range.ts";
import type { RangeOp, RangeOutcome } from "./operations.ts";
import type { MvccStore } from "./store.ts";
import type { Version } from "./version.ts";

/** Whether the order or the filters ask for more than keys in ascending order. */
export function isCustom(op: RangeOp): boolean {
  return op.target !== "key" || op.order === "descend" || hasFilter(op);
}

/**
 * Whether everything is read before it is sorted and cut. etcd goes by the order alone: a target other than the key
 * without an order sorts only the first keys up to the limit.
 */
function readsAll(op: RangeOp): boolean {
  return op.order === "descend" || (op.order === "ascend" && op.target !== "key") || hasFilter(op);
}

function hasFilter(op: RangeOp): boolean {
  return op.minModRevision !== 0 || op.maxModRevision !== 0 || op.minCreateRevision !== 0 || op.maxCreateRevision !== 0;
}

/**
 * Finds the versions of a range at `revision` (infinity: the newest, staged ones included). The caller has checked that
 * the revision is neither compacted nor in the future.
 */
export function evaluateRange(store: MvccStore, op: RangeOp, revision: number, afterWrite = false): RangeOutcome {
  const versions: Version[] = [];
  if (op.rangeEnd === "") {
    const version = store.index.get(op.key)?.at(revision);
    if (version !== undefined && !op.countOnly) versions.push(version);
    return { kind: "range", op, versions, count: version === undefined ? 0 : 1, afterWrite };
  }
  const range = keyRange(op.key, op.rangeEnd);
  if (op.countOnly) return { kind: "range", op, versions, count: store.count(range, revision), afterWrite };
  // One more than the limit is enough to know that there is more.
  const enough = op.limit > 0 && !readsAll(op) ? op.limit + 1 : Number.POSITIVE_INFINITY;
  store.index.scan(range, (entry) => {
    const version = entry.at(revision);
    if (version !== undefined) versions.push(version);
    return versions.length < enough;
  });
  const count = versions.length < enough ? versions.length : store.count(range, revision);
  return { kind: "range", op, versions, count, afterWrite };
}

/** Whether {@link finishRange} must see values to sort by them. */
export function sortsByValue(outcome: RangeOutcome): boolean {
  return outcome.op.target === "value" && outcome.versions.length > 1;
}

/**
 * Applies filters, order and limit. Runs when the transaction is over, so that its own rows have their final revisions.
 * `readValue` is only called for a sort by value.
 */
export function finishRange(
  outcome: RangeOutcome,
  readValue: (version: Version) => Uint8Array,
): { versions: Version[]; more: boolean } {
  const { op } = outcome;
  let { versions } = outcome;
  if (isCustom(op)) versions = sortVersions(versions.filter(filterOf(op)), op, readValue);
  const more = op.limit > 0 && versions.length > op.limit;
  return { versions: more ? versions.slice(0, op.limit) : versions, more };
}

function filterOf(op: RangeOp): (version: Version) => boolean {
  return ({ revision, createRevision }) =>
    !(
      (op.minModRevision !== 0 && revision < op.minModRevision) ||
      (op.maxModRevision !== 0 && revision > op.maxModRevision) ||
      (op.minCreateRevision !== 0 && createRevision < op.minCreateRevision) ||
      (op.maxCreateRevision !== 0 && createRevision > op.maxCreateRevision)
    );
}

/** Sorting is stable, so ties stay in key order. A target other than the key without an order sorts ascending. */
function sortVersions(versions: Version[], op: RangeOp, readValue: (version: Version) => Uint8Array): Version[] {
  if (op.target === "key") return op.order === "descend" ? versions.reverse() : versions;
  const sign = op.order === "descend" ? -1 : 1;
  if (op.target === "value") {
    const values = new Map(versions.map((version) => [version, readValue(version)]));
    return versions.sort((a, b) => sign * Buffer.compare(values.get(a)!, values.get(b)!));
  }
  const field = op.target === "version" ? "version" : op.target === "create" ? "createRevision" : "revision";
  return versions.sort((a, b) => sign * (a[field] - b[field]));
}

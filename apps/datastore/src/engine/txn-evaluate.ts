import { etcdErrors } from "@keelson/protocol/etcd";
import { keyRange } from "./key-range.ts";
import type { Lessor } from "./lessor.ts";
import type {
  Compare,
  DeleteOp,
  DeleteOutcome,
  Operation,
  Outcome,
  PutOp,
  PutOutcome,
  RangeOp,
  StagedRow,
  TxnOp,
  TxnOutcome,
} from "./operations.ts";
import { evaluateRange } from "./range.ts";
import type { MvccStore } from "./store.ts";
import type { Key, KeyEntry, Version } from "./version.ts";

/** Everything a write is evaluated against, and where its rows go. */
export interface WriteContext {
  store: MvccStore;
  lessor: Lessor;
  /** The value of a version whose value has been announced as needed (see {@link neededValues}). */
  valueOf(version: Version): Uint8Array;
  /** Rows of the present transaction, in order. */
  rows: StagedRow[];
  /** Whether the log can store a key of this length; undefined when it stores any. */
  fitsKey: ((key: Key) => boolean) | undefined;
}

/** The branch a transaction takes, and those its nested ones take, decided before anything is written. */
interface Path {
  succeeded: boolean;
  nested: Path[];
}

export function evaluateTxn(context: WriteContext, txn: TxnOp): TxnOutcome {
  const path = choosePath(context, txn);
  checkPath(txn, path, (op) => {
    if (op.kind !== "put") return;
    checkFits(context, op);
    checkKeptKey(context, op);
    checkLease(context, op);
  });
  checkPath(txn, path, (op) => {
    if (op.kind !== "range") return;
    // Alone a negative revision means the newest, in a transaction it is one before all others.
    if (op.revision < 0 && op.revision < context.store.compacted) throw etcdErrors.compacted();
    checkRevision(context.store, op);
  });
  return runTxn(context, txn, path);
}

export function evaluatePut(context: WriteContext, op: PutOp): PutOutcome {
  checkFits(context, op);
  checkLease(context, op);
  checkKeptKey(context, op);
  return runPut(context, op);
}

export function evaluateDelete(context: WriteContext, op: DeleteOp): DeleteOutcome {
  return runDelete(context, op);
}

/** Deletes the keys of a lease, in key order. */
export function deleteEntries(context: WriteContext, entries: Iterable<KeyEntry>): void {
  const sorted = [...entries].sort((a, b) => (a.key < b.key ? -1 : 1));
  for (const entry of sorted)
    context.rows.push({ version: context.store.stage(entry.key, "delete", undefined), value: undefined });
}

/** Versions whose values evaluation will ask for: compares on values, and puts that keep the value. */
export function neededValues(store: MvccStore, op: Operation, into: Version[]): void {
  if (op.kind === "put" && op.ignoreValue) {
    const head = store.index.get(op.key)?.head;
    if (head !== undefined && head.version !== 0) into.push(head);
  }
  if (op.kind !== "txn") return;
  for (const compare of op.compares) {
    if (compare.target !== "value") continue;
    store.index.scan(keyRange(compare.key, compare.rangeEnd), ({ head }) => {
      if (head !== undefined && head.version !== 0) into.push(head);
      return true;
    });
  }
  for (const inner of op.success) neededValues(store, inner, into);
  for (const inner of op.failure) neededValues(store, inner, into);
}

/** A revision a range names must be within [compacted, current]. */
export function checkRevision(store: MvccStore, op: RangeOp, current = store.head): void {
  if (op.revision <= 0) return;
  if (op.revision > current) throw etcdErrors.futureRevision();
  if (op.revision < store.compacted) throw etcdErrors.compacted();
}

function choosePath(context: WriteContext, txn: TxnOp): Path {
  const succeeded = txn.compares.every((compare) => holds(context, compare));
  const nested: Path[] = [];
  for (const op of succeeded ? txn.success : txn.failure) if (op.kind === "txn") nested.push(choosePath(context, op));
  return { succeeded, nested };
}

function checkPath(txn: TxnOp, path: Path, check: (op: Operation) => void): void {
  let nestedAt = 0;
  for (const op of path.succeeded ? txn.success : txn.failure) {
    if (op.kind === "txn") checkPath(op, path.nested[nestedAt++]!, check);
    else check(op);
  }
}

/** A key that the database cannot index must not spoil the batch for the others in it. */
function checkFits({ fitsKey }: WriteContext, op: PutOp): void {
  if (fitsKey !== undefined && !fitsKey(op.key)) throw etcdErrors.requestTooLarge();
}

/** A plain put looks for the lease first, one in a transaction for the key: so etcd does it. */
function checkLease({ lessor }: WriteContext, op: PutOp): void {
  if (op.lease !== 0n && lessor.get(op.lease) === undefined) throw etcdErrors.leaseNotFound();
}

function checkKeptKey({ store }: WriteContext, op: PutOp): void {
  if (!op.ignoreValue && !op.ignoreLease) return;
  const head = store.index.get(op.key)?.head;
  if (head === undefined || head.version === 0) throw etcdErrors.keyNotFound();
}

function runTxn(context: WriteContext, txn: TxnOp, path: Path): TxnOutcome {
  let nestedAt = 0;
  const responses: Outcome[] = [];
  for (const op of path.succeeded ? txn.success : txn.failure) {
    if (op.kind === "txn") responses.push(runTxn(context, op, path.nested[nestedAt++]!));
    else if (op.kind !== "empty") responses.push(runOperation(context, op));
  }
  return { kind: "txn", succeeded: path.succeeded, responses, afterWrite: context.rows.length > 0 };
}

function runOperation(context: WriteContext, op: RangeOp | PutOp | DeleteOp): Outcome {
  switch (op.kind) {
    case "range": {
      const revision = op.revision > 0 ? op.revision : Number.POSITIVE_INFINITY;
      return evaluateRange(context.store, op, revision, context.rows.length > 0);
    }
    case "put":
      return runPut(context, op);
    case "delete":
      return runDelete(context, op);
  }
}

function runPut(context: WriteContext, op: PutOp): PutOutcome {
  const { store, lessor, rows } = context;
  const head = store.index.get(op.key)?.head;
  const previous = head !== undefined && head.version !== 0 ? head : undefined;
  const value = op.ignoreValue ? context.valueOf(previous!) : op.value;
  const lease = op.ignoreLease ? previous!.lease : op.lease === 0n ? undefined : lessor.get(op.lease);
  rows.push({ version: store.stage(op.key, "put", lease), value });
  return { kind: "put", previous: op.prevKv ? previous : undefined };
}

function runDelete(context: WriteContext, op: DeleteOp): DeleteOutcome {
  const { store, rows } = context;
  const doomed: Version[] = [];
  if (op.rangeEnd === "") {
    const head = store.index.get(op.key)?.head;
    if (head !== undefined && head.version !== 0) doomed.push(head);
  } else {
    store.index.scan(keyRange(op.key, op.rangeEnd), ({ head }) => {
      if (head !== undefined && head.version !== 0) doomed.push(head);
      return true;
    });
  }
  for (const version of doomed) {
    rows.push({ version: store.stage(version.entry.key, "delete", undefined), value: undefined });
  }
  return {
    kind: "delete",
    deleted: doomed.length,
    previous: op.prevKv ? doomed : [],
    afterWrite: rows.length > 0,
  };
}

/**
 * One compare. A missing key counts as one with all numbers zero, but a compare of its value is always false. Over a
 * range every key must satisfy it, and an empty range is a missing key.
 */
function holds(context: WriteContext, compare: Compare): boolean {
  const { index } = context.store;
  if (compare.rangeEnd === "") {
    const head = index.get(compare.key)?.head;
    return versionHolds(context, compare, head !== undefined && head.version !== 0 ? head : undefined);
  }
  let seen = false;
  let every = true;
  index.scan(keyRange(compare.key, compare.rangeEnd), ({ head }) => {
    if (head === undefined || head.version === 0) return true;
    seen = true;
    every = versionHolds(context, compare, head);
    return every;
  });
  return seen ? every : versionHolds(context, compare, undefined);
}

function versionHolds(context: WriteContext, compare: Compare, version: Version | undefined): boolean {
  switch (compare.target) {
    case "version":
      return satisfies(compare.result, order(version?.version ?? 0, compare.operand));
    case "create":
      return satisfies(compare.result, order(version?.createRevision ?? 0, compare.operand));
    case "mod":
      return satisfies(compare.result, order(version?.revision ?? 0, compare.operand));
    case "lease":
      return satisfies(compare.result, order(version?.lease?.id ?? 0n, compare.operand));
    case "unknown":
      return satisfies(compare.result, 0);
    case "value":
      return (
        version !== undefined && satisfies(compare.result, Buffer.compare(context.valueOf(version), compare.operand))
      );
  }
}

function order<T extends number | bigint>(actual: T, wanted: T): number {
  return actual < wanted ? -1 : actual > wanted ? 1 : 0;
}

function satisfies(result: Compare["result"], order: number): boolean {
  switch (result) {
    case "equal":
      return order === 0;
    case "notEqual":
      return order !== 0;
    case "greater":
      return order > 0;
    case "less":
      return order < 0;
    case "unknown":
      return true;
  }
}

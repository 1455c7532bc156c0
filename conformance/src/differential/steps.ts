import fc from "fast-check";

/**
 * The language of the differential test. Revisions are symbolic, counted from the newest, because the two servers number
 * them differently; leases and keys come from small pools, so that steps meet each other.
 */

/** A revision seen from the newest: `back: 0` is the newest, `ahead: 1` the next one; or `exactly` one that cannot be. */
export type RevisionRef = { back: number } | { ahead: number } | { exactly: number };

export interface RangeStep {
  kind: "range";
  key: Buffer;
  rangeEnd: Buffer;
  limit: number;
  revision: RevisionRef | undefined;
  sortOrder: number;
  sortTarget: number;
  serializable: boolean;
  keysOnly: boolean;
  countOnly: boolean;
  minModRevision: RevisionRef | undefined;
  maxModRevision: RevisionRef | undefined;
  minCreateRevision: RevisionRef | undefined;
  maxCreateRevision: RevisionRef | undefined;
}

export interface PutStep {
  kind: "put";
  key: Buffer;
  value: Buffer;
  lease: bigint;
  prevKv: boolean;
  ignoreValue: boolean;
  ignoreLease: boolean;
}

export interface DeleteStep {
  kind: "delete";
  key: Buffer;
  rangeEnd: Buffer;
  prevKv: boolean;
}

export interface CompareStep {
  result: number;
  target: number;
  key: Buffer;
  rangeEnd: Buffer;
  /** What is compared with; undefined leaves the union out. */
  operand:
    | { version: number }
    | { createRevision: RevisionRef | undefined }
    | { modRevision: RevisionRef | undefined }
    | { value: Buffer }
    | { lease: bigint }
    | undefined;
}

export interface TxnStep {
  kind: "txn";
  compare: CompareStep[];
  success: (OperationStep | undefined)[];
  failure: (OperationStep | undefined)[];
}

/** What a transaction holds; undefined in its lists is an operation without a variant. */
export type OperationStep = RangeStep | PutStep | DeleteStep | TxnStep;

export interface CompactStep {
  kind: "compact";
  revision: RevisionRef;
  physical: boolean;
}

export type LeaseStep =
  | { kind: "grant"; id: bigint; ttl: number }
  | { kind: "revoke"; id: bigint }
  | { kind: "keepAlive"; id: bigint }
  | { kind: "timeToLive"; id: bigint; keys: boolean }
  | { kind: "leases" };

export interface WatchStep {
  kind: "watch";
  key: Buffer;
  rangeEnd: Buffer;
  startRevision: RevisionRef | undefined;
  prevKv: boolean;
  filters: number[];
  watchId: number;
  fragment: boolean;
}

export interface CancelStep {
  kind: "cancel";
  watchId: number;
}

export type Step = OperationStep | CompactStep | LeaseStep | WatchStep | CancelStep;

/** Keys that are hard to order: prefixes of each other, NUL, 0xff, bytes that are no UTF-8. */
export const keyPool: readonly Buffer[] = [
  "61",
  "6100",
  "6161",
  "6162",
  "62",
  "62ff",
  "63",
  "00",
  "ff",
  "ffff",
  "c328",
].map((hex) => Buffer.from(hex, "hex"));
export const leasePool: readonly bigint[] = [101n, 102n, 103n, 104n];
const nothing = Buffer.alloc(0);

const key = fc.oneof(
  { weight: 40, arbitrary: fc.constantFrom(...keyPool) },
  { weight: 1, arbitrary: fc.constant(nothing) },
);
const rangeEnd = fc.oneof(
  { weight: 4, arbitrary: fc.constant(nothing) },
  { weight: 2, arbitrary: fc.constant(Buffer.from([0])) },
  { weight: 4, arbitrary: fc.constantFrom(...keyPool) },
  { weight: 2, arbitrary: fc.constant(Buffer.from("b")) },
);
const value = fc.constantFrom("", "1", "2", "10", "\xff").map((text) => Buffer.from(text, "latin1"));
const lease = fc.oneof(
  { weight: 5, arbitrary: fc.constant(0n) },
  { weight: 3, arbitrary: fc.constantFrom(...leasePool) },
);
const rarely = fc.integer({ min: 0, max: 9 }).map((dice) => dice === 9);
const back: fc.Arbitrary<RevisionRef> = fc.nat({ max: 8 }).map((count) => ({ back: count }));
const anyRevision: fc.Arbitrary<RevisionRef> = fc.oneof(
  { weight: 8, arbitrary: back },
  { weight: 1, arbitrary: fc.constantFrom<RevisionRef>({ ahead: 1 }, { ahead: 1_000 }) },
);
/** Of a watch, etcds of different versions do not make the same of a revision below zero. */
const readRevision: fc.Arbitrary<RevisionRef> = fc.oneof(
  { weight: 20, arbitrary: anyRevision },
  { weight: 1, arbitrary: fc.constantFrom<RevisionRef>({ exactly: -1 }, { exactly: -7 }) },
);
const maybe = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.option(arbitrary, { nil: undefined, freq: 2 });
const seldom = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });

const range: fc.Arbitrary<RangeStep> = fc.record({
  kind: fc.constant("range"),
  key,
  rangeEnd,
  limit: fc.constantFrom(0, 0, 0, 1, 2, 5),
  revision: maybe(readRevision),
  sortOrder: fc.constantFrom(0, 0, 0, 1, 2),
  sortTarget: fc.constantFrom(0, 0, 0, 1, 2, 3, 4),
  serializable: fc.boolean(),
  keysOnly: rarely,
  countOnly: rarely,
  minModRevision: seldom(back),
  maxModRevision: seldom(back),
  minCreateRevision: seldom(back),
  maxCreateRevision: seldom(back),
});

const put: fc.Arbitrary<PutStep> = fc.record({
  kind: fc.constant("put"),
  key,
  value,
  lease,
  prevKv: fc.boolean(),
  ignoreValue: rarely,
  ignoreLease: rarely,
});

const remove: fc.Arbitrary<DeleteStep> = fc.record({
  kind: fc.constant("delete"),
  key,
  rangeEnd,
  prevKv: fc.boolean(),
});

const compare: fc.Arbitrary<CompareStep> = fc.record({
  // One relation and one target are of no etcd so far.
  result: fc.constantFrom(0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4),
  target: fc.nat({ max: 5 }),
  key,
  rangeEnd: fc.oneof({ weight: 4, arbitrary: fc.constant(nothing) }, { weight: 1, arbitrary: rangeEnd }),
  operand: fc.oneof<fc.Arbitrary<CompareStep["operand"]>[]>(
    fc.nat({ max: 3 }).map((version) => ({ version })),
    maybe(back).map((createRevision) => ({ createRevision })),
    maybe(back).map((modRevision) => ({ modRevision })),
    value.map((bytes) => ({ value: bytes })),
    lease.map((id) => ({ lease: id })),
    fc.constant(undefined),
  ),
});

/** Most compares are of the kind that matches their target, so that both branches are taken. */
const soundCompare = compare.map((step): CompareStep => {
  const kinds = ["version", "createRevision", "modRevision", "value", "lease"];
  const kind = step.operand === undefined ? -1 : kinds.indexOf(Object.keys(step.operand)[0]!);
  return kind < 0 ? step : { ...step, target: kind };
});
const anyCompare = fc.oneof({ weight: 8, arbitrary: soundCompare }, { weight: 1, arbitrary: compare });

function txn(depth: number): fc.Arbitrary<TxnStep> {
  const leaf: fc.Arbitrary<OperationStep> = fc.oneof<fc.Arbitrary<OperationStep>[]>(range, put, put, remove);
  const operation =
    depth === 0 ? leaf : fc.oneof({ weight: 5, arbitrary: leaf }, { weight: 1, arbitrary: txn(depth - 1) });
  const operations = fc.array(
    fc.oneof({ weight: 60, arbitrary: operation }, { weight: 1, arbitrary: fc.constant(undefined) }),
    { maxLength: 4 },
  );
  return fc.record({
    kind: fc.constant("txn"),
    compare: fc.array(anyCompare, { maxLength: 2 }),
    success: operations,
    failure: operations,
  });
}

const leaseId = fc.constantFrom(...leasePool);
const leaseStep: fc.Arbitrary<LeaseStep> = fc.oneof<fc.Arbitrary<LeaseStep>[]>(
  fc.record({ kind: fc.constant("grant" as const), id: leaseId, ttl: fc.constantFrom(600, 601, 3_600, 9_000_000_001) }),
  fc.record({ kind: fc.constant("grant" as const), id: leaseId, ttl: fc.constant(700) }),
  fc.record({ kind: fc.constant("revoke" as const), id: leaseId }),
  fc.record({ kind: fc.constant("keepAlive" as const), id: leaseId }),
  fc.record({ kind: fc.constant("timeToLive" as const), id: leaseId, keys: fc.boolean() }),
  fc.constant({ kind: "leases" as const }),
);

const watch: fc.Arbitrary<WatchStep> = fc.record({
  kind: fc.constant("watch"),
  key,
  rangeEnd,
  startRevision: maybe(anyRevision),
  prevKv: fc.boolean(),
  filters: fc.oneof({ weight: 4, arbitrary: fc.constant<number[]>([]) }, { weight: 1, arbitrary: fc.subarray([0, 1]) }),
  watchId: fc.constantFrom(0, 0, 0, 1, 2, 7),
  fragment: fc.boolean(),
});

/** One request. */
export const step: fc.Arbitrary<Step> = fc.oneof<{ weight: number; arbitrary: fc.Arbitrary<Step> }[]>(
  { weight: 8, arbitrary: range },
  { weight: 10, arbitrary: put },
  { weight: 3, arbitrary: remove },
  { weight: 9, arbitrary: txn(2) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("compact" as const), revision: anyRevision, physical: fc.boolean() }),
  },
  { weight: 5, arbitrary: leaseStep },
  { weight: 3, arbitrary: watch },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), watchId: fc.nat({ max: 4 }) }) },
);

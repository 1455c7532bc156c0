import type { Key, Version } from "./version.ts";

/** etcd's requests as the engine evaluates them: keys as {@link Key}, numbers as numbers, nothing optional. */
export interface RangeOp {
  kind: "range";
  key: Key;
  rangeEnd: Key;
  /** 0 means no limit. */
  limit: number;
  /** 0 or less means the newest. */
  revision: number;
  order: SortOrder;
  target: SortTarget;
  serializable: boolean;
  keysOnly: boolean;
  countOnly: boolean;
  /** Inclusive revision filters; 0 means none. */
  minModRevision: number;
  maxModRevision: number;
  minCreateRevision: number;
  maxCreateRevision: number;
}

export type SortOrder = "none" | "ascend" | "descend";
export type SortTarget = "key" | "version" | "create" | "mod" | "value";

export interface PutOp {
  kind: "put";
  key: Key;
  value: Uint8Array;
  /** 0n means no lease. */
  lease: bigint;
  prevKv: boolean;
  ignoreValue: boolean;
  ignoreLease: boolean;
}

export interface DeleteOp {
  kind: "delete";
  key: Key;
  rangeEnd: Key;
  prevKv: boolean;
}

export interface TxnOp {
  kind: "txn";
  compares: Compare[];
  success: Operation[];
  failure: Operation[];
}

/** A RequestOp with no variant set: decoded, so that it is refused when its turn comes in etcd's order of checks. */
export interface EmptyOp {
  kind: "empty";
}

export type Operation = RangeOp | PutOp | DeleteOp | TxnOp | EmptyOp;

/** `unknown`: a relation of a newer etcd, which this one takes to hold. */
export type CompareResult = "equal" | "greater" | "less" | "notEqual" | "unknown";

export type Compare = { key: Key; rangeEnd: Key; result: CompareResult } & (
  | { target: "version" | "create" | "mod"; operand: number }
  | { target: "lease"; operand: bigint }
  | { target: "value"; operand: Uint8Array }
  /** A target of a newer etcd, which this one finds equal to whatever it is compared with. */
  | { target: "unknown" }
);

/** What a range found, before custom sorting and the limit of a sorted range; see `finishRange`. */
export interface RangeOutcome {
  kind: "range";
  op: RangeOp;
  versions: Version[];
  /** Keys in the range at that revision, whatever the limit and the filters. */
  count: number;
  /** A row of the same transaction was written before this range ran: its header shows the new revision. */
  afterWrite: boolean;
}

export interface PutOutcome {
  kind: "put";
  previous: Version | undefined;
}

export interface DeleteOutcome {
  kind: "delete";
  deleted: number;
  /** Filled only when asked for, in key order. */
  previous: Version[];
  /** As {@link RangeOutcome.afterWrite}, this deletion's own rows included. */
  afterWrite: boolean;
}

export interface TxnOutcome {
  kind: "txn";
  succeeded: boolean;
  responses: Outcome[];
  /** Whether rows were written before the end of this (possibly nested) transaction. */
  afterWrite: boolean;
}

export type Outcome = RangeOutcome | PutOutcome | DeleteOutcome | TxnOutcome;

/** A row to append, as evaluation produces it. The value of a tombstone is undefined. */
export interface StagedRow {
  version: Version;
  value: Uint8Array | undefined;
}

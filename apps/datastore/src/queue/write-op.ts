import type { Operation } from "../engine/operations.ts";
import type { WriteContext } from "../engine/txn-evaluate.ts";
import type { LeaseChange } from "../log/append-log.ts";

/** What an operation can change beside keys. Every change in memory comes with the way to take it back. */
export interface WriteScope extends WriteContext {
  leases: LeaseChange[];
  settings: Map<string, string | undefined>;
  /** Moves the compacted revision with this batch. */
  compact(revision: number): void;
  /** Runs if the batch fails, newest first. */
  onRollback(undo: () => void): void;
}

/** One request that may write. */
export interface WriteOp {
  /** For compares and puts that need values; lease and compaction requests have none. */
  readonly operation?: Operation;
  /** Bytes of the request, for the size of a batch. */
  readonly bytes: number;
  /** Decides and stages. May throw an etcd error, but only before it has staged anything. */
  evaluate(scope: WriteScope): void;
  /** The outcome is durable. `revision` is the store's revision right after this operation. */
  complete(revision: number): void;
  /** Refused by evaluation, or not durable for all we know. */
  fail(error: unknown): void;
}

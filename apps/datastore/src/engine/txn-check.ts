import { etcdErrors } from "@keelson/protocol/etcd";
import type { DeleteOp, Operation, PutOp, TxnOp } from "./operations.ts";
import type { Key } from "./version.ts";

/** etcd's default --max-txn-ops. A nested transaction gets what its parent leaves. */
export const maxTxnOps = 128;

/**
 * The checks of a transaction that need no state, in etcd's order: number of operations, empty keys, each operation by
 * itself, then keys written twice. Throws the matching etcd error.
 */
export function checkTxn(txn: TxnOp, opBudget: number): void {
  checkOperations(txn, opBudget);
  checkIntervals(txn.success);
  checkIntervals(txn.failure);
}

/** The checks of each operation by itself, nested transactions included, before any two are held against each other. */
function checkOperations(txn: TxnOp, opBudget: number): void {
  const ops = Math.max(txn.compares.length, txn.success.length, txn.failure.length);
  if (ops > opBudget) throw etcdErrors.tooManyOps();
  for (const compare of txn.compares) if (compare.key === "") throw etcdErrors.emptyKey();
  for (const op of txn.success) checkOperation(op, opBudget - ops);
  for (const op of txn.failure) checkOperation(op, opBudget - ops);
}

function checkOperation(op: Operation, opBudget: number): void {
  switch (op.kind) {
    case "put":
      checkPut(op);
      break;
    case "txn":
      checkOperations(op, opBudget);
      break;
    case "empty":
      throw etcdErrors.keyNotFound();
    default:
      if (op.key === "") throw etcdErrors.emptyKey();
  }
}

export function checkPut(put: PutOp): void {
  if (put.key === "") throw etcdErrors.emptyKey();
  if (put.ignoreValue && put.value.length > 0) throw etcdErrors.valueProvided();
  if (put.ignoreLease && put.lease !== 0n) throw etcdErrors.leaseProvided();
}

interface Written {
  puts: Set<Key>;
  deletes: DeleteOp[];
}

/**
 * No key is put twice, and none is put that a delete of the same list covers, whichever comes first. The two branches
 * of one nested transaction may put the same key, because only one of them runs; two sibling transactions may not. Of two
 * siblings the later may delete what the earlier puts, but not put what the earlier deletes: etcd looks back only for puts.
 */
function checkIntervals(ops: readonly Operation[]): Written {
  const written: Written = { puts: new Set(), deletes: [] };
  for (const op of ops) if (op.kind === "delete") written.deletes.push(op);

  for (const op of ops) {
    if (op.kind !== "txn") continue;
    const success = checkIntervals(op.success);
    const failure = checkIntervals(op.failure);
    const puts = new Set([...success.puts, ...failure.puts]);
    for (const key of puts) {
      if (written.puts.has(key) || covers(written.deletes, key)) throw etcdErrors.duplicateKey();
    }
    for (const key of puts) written.puts.add(key);
    written.deletes.push(...success.deletes, ...failure.deletes);
  }

  for (const op of ops) {
    if (op.kind !== "put") continue;
    if (written.puts.has(op.key) || covers(written.deletes, op.key)) throw etcdErrors.duplicateKey();
    written.puts.add(op.key);
  }
  return written;
}

/** etcd takes the end of the range literally here, so a deletion "from the key on" (0x00) covers nothing. */
function covers(deletes: readonly DeleteOp[], key: Key): boolean {
  return deletes.some((op) => (op.rangeEnd === "" ? key === op.key : key >= op.key && key < op.rangeEnd));
}

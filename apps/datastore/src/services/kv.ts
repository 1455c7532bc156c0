import { etcdErrors } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { DeleteOp, Operation, Outcome, PutOp, RangeOp, TxnOp } from "../engine/operations.ts";
import { evaluateRange } from "../engine/range.ts";
import { checkPut, checkTxn, maxTxnOps } from "../engine/txn-check.ts";
import { checkRevision, evaluateDelete, evaluatePut, evaluateTxn } from "../engine/txn-evaluate.ts";
import type { WriteScope } from "../queue/write-op.ts";
import { checkRequestSize } from "../server/message-splitter.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { decodeDelete, decodePut, decodeRange, decodeTxn, readerOf } from "../wire/kv-requests.ts";

/** etcdserverpb.KV. */
export function kvService(core: Core, alarms: { refuseWhenFull(): void }): UnaryMethod[] {
  const { store, encoder } = core;

  const range = (op: RangeOp): Buffer | Promise<Buffer> => {
    checkRevision(store, op, store.committed);
    const revision = store.committed;
    const at = op.revision > 0 ? op.revision : revision;
    if (op.rangeEnd === "" && !op.countOnly && op.minModRevision === 0 && op.maxModRevision === 0) {
      if (op.minCreateRevision === 0 && op.maxCreateRevision === 0) {
        return encoder.encodeGet(store.index.get(op.key)?.at(at), op.keysOnly, revision);
      }
    }
    return encoder.encode(evaluateRange(store, op, at), revision);
  };

  /** Queues a write; resolves with its response frame once it is durable. */
  const write = (
    request: Buffer,
    operation: PutOp | DeleteOp | TxnOp,
    evaluate: (scope: WriteScope) => Outcome,
  ): Promise<Buffer> =>
    new Promise((resolve, reject) => {
      checkRequestSize(request);
      let outcome: Outcome;
      let before = 0;
      core.queue.submit({
        operation,
        bytes: request.length,
        evaluate: (scope) => {
          before = store.head;
          outcome = evaluate(scope);
        },
        complete: (revision) => {
          try {
            resolve(encoder.encode(outcome, revision, before));
          } catch (error) {
            reject(error);
          }
        },
        fail: reject,
      });
    });

  return [
    {
      kind: "unary",
      path: "/etcdserverpb.KV/Range",
      call(request) {
        const op = decodeRange(readerOf(request));
        if (op.key === "") throw etcdErrors.emptyKey();
        const ready = op.serializable ? undefined : core.linearize();
        return ready === undefined ? range(op) : ready.then(() => range(op));
      },
    },
    {
      kind: "unary",
      path: "/etcdserverpb.KV/Put",
      call(request) {
        const op = decodePut(readerOf(request));
        checkPut(op);
        return write(request, op, (scope) => {
          alarms.refuseWhenFull();
          return evaluatePut(scope, op);
        });
      },
    },
    {
      kind: "unary",
      path: "/etcdserverpb.KV/DeleteRange",
      call(request) {
        const op = decodeDelete(readerOf(request));
        if (op.key === "") throw etcdErrors.emptyKey();
        return write(request, op, (scope) => evaluateDelete(scope, op));
      },
    },
    {
      kind: "unary",
      path: "/etcdserverpb.KV/Txn",
      call(request) {
        const txn = decodeTxn(readerOf(request));
        checkTxn(txn, maxTxnOps);
        return write(request, txn, (scope) => {
          if (puts(txn)) alarms.refuseWhenFull();
          return evaluateTxn(scope, txn);
        });
      },
    },
    {
      kind: "unary",
      path: "/etcdserverpb.KV/Compact",
      call(request) {
        const reader = readerOf(request);
        let revision = 0;
        let physical = false;
        while (!reader.done) {
          const tag = reader.tag();
          if (tag === 0x08) revision = reader.int();
          else if (tag === 0x10) physical = reader.bool();
          else reader.skip(tag, 2);
        }
        return core
          .write((scope) => core.compact(scope, revision))
          .then(async (current) => {
            if (physical) await core.queue.purged();
            return encoder.encodeHeader(current);
          });
      },
    },
  ];
}

/** Whether a transaction may put: those are refused when space has run out, deletions are not. */
function puts(txn: TxnOp): boolean {
  const putsIn = (op: Operation): boolean => op.kind === "put" || (op.kind === "txn" && puts(op));
  return txn.success.some(putsIn) || txn.failure.some(putsIn);
}

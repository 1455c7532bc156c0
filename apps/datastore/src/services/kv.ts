import { etcdErrors } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { DeleteOp, Operation, Outcome, PutOp, RangeOp, TxnOp } from "../engine/operations.ts";
import { evaluateRange } from "../engine/range.ts";
import { checkPut, checkTxn, maxTxnOps } from "../engine/txn-check.ts";
import { checkRevision, evaluateDelete, evaluatePut, evaluateTxn } from "../engine/txn-evaluate.ts";
import { ValueGoneError } from "../engine/value-cache.ts";
import type { WriteScope } from "../queue/write-op.ts";
import { checkRequestSize } from "../server/message-splitter.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { decodeDelete, decodePut, decodeRange, decodeTxn, readerOf } from "../wire/kv-requests.ts";
import { versionsOf } from "../wire/kv-responses.ts";

/** How often a range is looked up whose rows are compacted away meanwhile. Rows that are still missing then are lost. */
const maxLookUps = 5;

/** etcdserverpb.KV. */
export function kvService(core: Core, alarms: { refuseWhenFull(): void }): UnaryMethod[] {
  const { store, encoder } = core;

  const find = (op: RangeOp): Buffer | Promise<Buffer> => {
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

  const range = (op: RangeOp): Buffer | Promise<Buffer> => {
    const frame = find(op);
    return frame instanceof Promise ? readOn(op, frame) : frame;
  };

  /** Waits for values. Compaction waits too, but not that of another replica: then the range is looked up again. */
  const readOn = async (op: RangeOp, frame: Promise<Buffer>): Promise<Buffer> => {
    for (let lookUps = 1; ; lookUps++) {
      const release = store.hold();
      try {
        return await frame;
      } catch (error) {
        if (!(error instanceof ValueGoneError)) throw error;
        if (lookUps === maxLookUps) throw etcdErrors.corrupt(error);
      } finally {
        release();
      }
      await core.linearize();
      const again = find(op);
      if (!(again instanceof Promise)) return again;
      frame = again;
    }
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
      let release = (): void => {};
      core.queue.submit({
        operation,
        bytes: request.length,
        evaluate: (scope) => {
          before = store.head;
          outcome = evaluate(scope);
          // Whoever writes next may compact what this answer still shows.
          if (versionsOf(outcome).length > 0) release = store.hold();
        },
        complete: (revision) => {
          try {
            const frame = encoder.encode(outcome, revision, before);
            if (frame instanceof Promise) frame.then(resolve, (error) => reject(committed(error))).finally(release);
            else {
              resolve(frame);
              release();
            }
          } catch (error) {
            release();
            reject(committed(error));
          }
        },
        fail: (error) => {
          release();
          reject(error);
        },
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

/** The write is done, but another replica has compacted what its answer shows: the client cannot be told how it went. */
function committed(error: unknown): unknown {
  return error instanceof ValueGoneError ? etcdErrors.timeout(error) : error;
}

/** Whether a transaction may put: those are refused when space has run out, deletions are not. */
function puts(txn: TxnOp): boolean {
  const putsIn = (op: Operation): boolean => op.kind === "put" || (op.kind === "txn" && puts(op));
  return txn.success.some(putsIn) || txn.failure.some(putsIn);
}

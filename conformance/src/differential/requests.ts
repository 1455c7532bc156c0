import type { Compare, Input, RangeRequest, RequestOp, TxnRequest } from "@keelson/protocol/etcd";
import type { Revisions } from "./revisions.ts";
import type { CompareStep, OperationStep, RangeStep, TxnStep } from "./steps.ts";

/** Turns symbolic steps into the requests that one server gets. */

export function rangeRequestOf(step: RangeStep, revisions: Revisions): Input<RangeRequest> {
  const { kind: _, ...rest } = step;
  return {
    ...rest,
    revision: revisions.resolve(step.revision),
    minModRevision: revisions.resolve(step.minModRevision),
    maxModRevision: revisions.resolve(step.maxModRevision),
    minCreateRevision: revisions.resolve(step.minCreateRevision),
    maxCreateRevision: revisions.resolve(step.maxCreateRevision),
  };
}

export function txnRequestOf(step: TxnStep, revisions: Revisions): Input<TxnRequest> {
  return {
    compare: step.compare.map((one) => compareOf(one, revisions)),
    success: step.success.map((one) => operationOf(one, revisions)),
    failure: step.failure.map((one) => operationOf(one, revisions)),
  };
}

function operationOf(step: OperationStep | undefined, revisions: Revisions): Input<RequestOp> {
  switch (step?.kind) {
    case "range":
      return { requestRange: rangeRequestOf(step, revisions) };
    case "put":
      return { requestPut: step };
    case "delete":
      return { requestDeleteRange: step };
    case "txn":
      return { requestTxn: txnRequestOf(step, revisions) };
    default:
      return {};
  }
}

function compareOf({ operand, ...rest }: CompareStep, revisions: Revisions): Input<Compare> {
  if (operand === undefined) return rest;
  if ("createRevision" in operand) return { ...rest, createRevision: revisions.resolve(operand.createRevision) };
  if ("modRevision" in operand) return { ...rest, modRevision: revisions.resolve(operand.modRevision) };
  return { ...rest, ...operand };
}

import { etcdErrors } from "@keelson/protocol/etcd";
import type {
  Compare,
  CompareResult,
  DeleteOp,
  Operation,
  PutOp,
  RangeOp,
  SortOrder,
  SortTarget,
  TxnOp,
} from "../engine/operations.ts";
import { WireReader } from "./reader.ts";

/** Decoders from the KV requests' bytes straight to what the engine evaluates. Field numbers: etcdserverpb. */

const sortOrders: readonly SortOrder[] = ["none", "ascend", "descend"];
const sortTargets: readonly SortTarget[] = ["key", "version", "create", "mod", "value"];
const compareResults: readonly CompareResult[] = ["equal", "greater", "less", "notEqual"];
/** Deeper nesting than any budget of operations allows is refused before it can exhaust the stack. */
const maxTxnDepth = 128;

export function decodeRange(reader: WireReader): RangeOp {
  const op: RangeOp = {
    kind: "range",
    key: "",
    rangeEnd: "",
    limit: 0,
    revision: 0,
    order: "none",
    target: "key",
    serializable: false,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  };
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        op.key = reader.key();
        break;
      case 0x12:
        op.rangeEnd = reader.key();
        break;
      case 0x18:
        op.limit = reader.int();
        break;
      case 0x20:
        op.revision = reader.int();
        break;
      case 0x28:
        op.order = choose(sortOrders, reader.int(), etcdErrors.invalidSortOption);
        break;
      case 0x30:
        op.target = choose(sortTargets, reader.int(), etcdErrors.invalidSortOption);
        break;
      case 0x38:
        op.serializable = reader.bool();
        break;
      case 0x40:
        op.keysOnly = reader.bool();
        break;
      case 0x48:
        op.countOnly = reader.bool();
        break;
      case 0x50:
        op.minModRevision = reader.int();
        break;
      case 0x58:
        op.maxModRevision = reader.int();
        break;
      case 0x60:
        op.minCreateRevision = reader.int();
        break;
      case 0x68:
        op.maxCreateRevision = reader.int();
        break;
      default:
        reader.skip(tag, 13);
    }
  }
  return op;
}

const noValue = Buffer.alloc(0);

export function decodePut(reader: WireReader): PutOp {
  const op: PutOp = {
    kind: "put",
    key: "",
    value: noValue,
    lease: 0n,
    prevKv: false,
    ignoreValue: false,
    ignoreLease: false,
  };
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case 0x0a:
        op.key = reader.key();
        break;
      case 0x12:
        op.value = reader.bytes();
        break;
      case 0x18:
        op.lease = reader.bigint();
        break;
      case 0x20:
        op.prevKv = reader.bool();
        break;
      case 0x28:
        op.ignoreValue = reader.bool();
        break;
      case 0x30:
        op.ignoreLease = reader.bool();
        break;
      default:
        reader.skip(tag, 6);
    }
  }
  return op;
}

export function decodeDelete(reader: WireReader): DeleteOp {
  const op: DeleteOp = { kind: "delete", key: "", rangeEnd: "", prevKv: false };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) op.key = reader.key();
    else if (tag === 0x12) op.rangeEnd = reader.key();
    else if (tag === 0x18) op.prevKv = reader.bool();
    else reader.skip(tag, 3);
  }
  return op;
}

export function decodeTxn(reader: WireReader, depth = 0): TxnOp {
  if (depth > maxTxnDepth) throw etcdErrors.tooManyOps();
  const txn: TxnOp = { kind: "txn", compares: [], success: [], failure: [] };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) txn.compares.push(decodeCompare(reader.message()));
    else if (tag === 0x12) txn.success.push(decodeOperation(reader.message(), depth));
    else if (tag === 0x1a) txn.failure.push(decodeOperation(reader.message(), depth));
    else reader.skip(tag, 3);
  }
  return txn;
}

function decodeOperation(reader: WireReader, depth: number): Operation {
  let op: Operation = { kind: "empty" };
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) op = decodeRange(reader.message());
    else if (tag === 0x12) op = decodePut(reader.message());
    else if (tag === 0x1a) op = decodeDelete(reader.message());
    else if (tag === 0x22) op = decodeTxn(reader.message(), depth + 1);
    else reader.skip(tag, 4);
  }
  return op;
}

/** The operand of another kind than the target counts as zero or empty. */
function decodeCompare(reader: WireReader): Compare {
  let result: CompareResult = "equal";
  let target = 0;
  let key = "";
  let rangeEnd = "";
  let operandField = 0;
  let number = 0;
  let lease = 0n;
  let value: Buffer = noValue;
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case 0x08:
        result = compareResults[reader.int()] ?? "unknown";
        break;
      case 0x10:
        target = reader.int();
        break;
      case 0x1a:
        key = reader.key();
        break;
      case 0x20:
      case 0x28:
      case 0x30:
        operandField = tag >> 3;
        number = reader.int();
        break;
      case 0x3a:
        operandField = 7;
        value = reader.bytes();
        break;
      case 0x40:
        operandField = 8;
        lease = reader.bigint();
        break;
      case 0x202:
        rangeEnd = reader.key();
        break;
      default:
        reader.skip(tag, 8);
    }
  }
  switch (target) {
    case 0:
      return { key, rangeEnd, result, target: "version", operand: operandField === 4 ? number : 0 };
    case 1:
      return { key, rangeEnd, result, target: "create", operand: operandField === 5 ? number : 0 };
    case 2:
      return { key, rangeEnd, result, target: "mod", operand: operandField === 6 ? number : 0 };
    case 3:
      return { key, rangeEnd, result, target: "value", operand: operandField === 7 ? value : noValue };
    case 4:
      return { key, rangeEnd, result, target: "lease", operand: operandField === 8 ? lease : 0n };
    default:
      return { key, rangeEnd, result, target: "unknown" };
  }
}

function choose<T>(values: readonly T[], at: number, error: () => Error): T {
  const value = values[at];
  if (value === undefined) throw error();
  return value;
}

export function readerOf(request: Buffer): WireReader {
  return new WireReader(request);
}

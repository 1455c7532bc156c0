import type {
  Event,
  KeyValue,
  RangeResponse,
  ResponseHeader,
  TxnResponse,
  WatchResponse,
} from "@keelson/protocol/etcd";
import type { Revisions } from "./revisions.ts";
import type { OperationStep, RangeStep, TxnStep } from "./steps.ts";

/** Turns answers into what two servers can be compared by: revisions by name, keys and values readable, no server ids. */
export class AnswerForm {
  readonly #revisions: Revisions;

  constructor(revisions: Revisions) {
    this.#revisions = revisions;
  }

  header(header: ResponseHeader | undefined): unknown {
    if (header === undefined) return "no header";
    return {
      revision: this.#revisions.name(header.revision),
      hasIds: header.clusterId !== 0n && header.memberId !== 0n,
    };
  }

  keyValue(kv: KeyValue | undefined): unknown {
    if (kv === undefined) return undefined;
    return {
      key: show(kv.key),
      value: show(kv.value),
      created: this.#revisions.name(kv.createRevision),
      modified: this.#revisions.name(kv.modRevision),
      version: kv.version,
      lease: kv.lease,
    };
  }

  range(step: RangeStep, response: RangeResponse): unknown {
    const { header, kvs, more, count } = response;
    return { header: this.header(header), more, count, kvs: this.#ordered(step, kvs) };
  }

  txn(step: TxnStep, response: TxnResponse): unknown {
    const taken = response.succeeded ? step.success : step.failure;
    return {
      header: this.header(response.header),
      succeeded: response.succeeded,
      responses: response.responses.map((one, index) => this.#operation(taken[index], one)),
    };
  }

  watchResponse(response: WatchResponse): unknown {
    return {
      header: this.header(response.header),
      watchId: response.watchId,
      canceled: response.canceled,
      compacted: this.#revisions.name(response.compactRevision),
      reason: response.cancelReason,
    };
  }

  event(event: Event): unknown {
    return {
      type: event.type === 0 ? "PUT" : "DELETE",
      kv: this.keyValue(event.kv),
      before: this.keyValue(event.prevKv),
    };
  }

  #operation(step: OperationStep | undefined, response: TxnResponse["responses"][number]): unknown {
    const { responseRange, responsePut, responseDeleteRange, responseTxn } = response;
    if (responseRange !== undefined) return { range: this.range(step as RangeStep, responseRange) };
    if (responseTxn !== undefined) return { txn: this.txn(step as TxnStep, responseTxn) };
    if (responsePut !== undefined) {
      return { put: { header: this.header(responsePut.header), before: this.keyValue(responsePut.prevKv) } };
    }
    return { delete: this.deleted(responseDeleteRange) };
  }

  deleted(
    response: { header?: ResponseHeader | undefined; deleted: number; prevKvs: KeyValue[] } | undefined,
  ): unknown {
    if (response === undefined) return "no response";
    return {
      header: this.header(response.header),
      deleted: response.deleted,
      before: response.prevKvs.map((kv) => this.keyValue(kv)),
    };
  }

  /** Keys that tie in a sort have no defined order, and which of them a limit cuts off is not defined either. */
  #ordered(step: RangeStep, kvs: readonly KeyValue[]): unknown {
    const rank = [undefined, "version", "createRevision", "modRevision", "value"][step.sortTarget] as
      | keyof KeyValue
      | undefined;
    if (rank === undefined) return kvs.map((kv) => this.keyValue(kv));
    const ranks = kvs.map((kv) => {
      const value = kv[rank];
      if (value instanceof Uint8Array) return step.keysOnly ? "" : show(value);
      return rank === "version" ? value : this.#revisions.name(Number(value));
    });
    if (step.limit > 0 || step.keysOnly) return { ranks };
    const byKey = [...kvs].sort((a, b) => a.key.compare(b.key));
    return { ranks, kvs: byKey.map((kv) => this.keyValue(kv)) };
  }
}

/** Printable text as it is, anything else as hexadecimal. */
export function show(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString("latin1");
  return /^[\x20-\x7e]*$/.test(text) ? text : `0x${Buffer.from(bytes).toString("hex")}`;
}

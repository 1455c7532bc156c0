import { compareTargets, putRequest, rangeRequest, txnRequest, watchRequest } from "@keelson/protocol/etcd";

/** The requests of the load, encoded once; only digits of a key, a revision or a sequence number change from call to call. */

export const paths = {
  range: "/etcdserverpb.KV/Range",
  put: "/etcdserverpb.KV/Put",
  txn: "/etcdserverpb.KV/Txn",
  watch: "/etcdserverpb.Watch/Watch",
} as const;

export const prefix = "/registry/pods/bench/";
const prefixEnd = Buffer.from("/registry/pods/bench0");
const keyDigits = 8;
export const pageSize = 500;
const valueBytes = 1_024;
/** Stands where the sequence number of a watched update goes. */
const sequenceMark = "seq:00000000";
/** A varint of four bytes, so that a template has room for any revision below 2^28. */
const placeholderRevision = 2 ** 28 - 1;

const keyOf = (index: number): Buffer => Buffer.from(prefix + String(index).padStart(keyDigits, "0"));
const value = Buffer.concat([Buffer.from(sequenceMark), Buffer.alloc(valueBytes - sequenceMark.length, "v")]);
const someKey = keyOf(0);

/** An encoded request with holes. */
class Template {
  readonly #bytes: Buffer;
  readonly #keys: number[] = [];
  readonly #revision: number;
  readonly #sequence: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    for (let at = bytes.indexOf(someKey); at >= 0; at = bytes.indexOf(someKey, at + 1)) {
      this.#keys.push(at + prefix.length);
    }
    this.#revision = bytes.indexOf(Buffer.from("ffffff7f", "hex"));
    this.#sequence = bytes.indexOf(sequenceMark);
  }

  /** The bytes with the holes filled, valid until the next call. */
  fill(index: number, revision = 0, sequence = 0): Buffer {
    const bytes = this.#bytes;
    for (const at of this.#keys) writeDigits(bytes, at, index);
    if (this.#revision >= 0) {
      bytes[this.#revision] = (revision & 0x7f) | 0x80;
      bytes[this.#revision + 1] = ((revision >>> 7) & 0x7f) | 0x80;
      bytes[this.#revision + 2] = ((revision >>> 14) & 0x7f) | 0x80;
      bytes[this.#revision + 3] = (revision >>> 21) & 0x7f;
    }
    if (this.#sequence >= 0) writeDigits(bytes, this.#sequence + "seq:".length, sequence);
    return bytes;
  }
}

function writeDigits(bytes: Buffer, at: number, number: number): void {
  for (let digit = keyDigits - 1, rest = number; digit >= 0; digit--, rest = Math.floor(rest / 10)) {
    bytes[at + digit] = 48 + (rest % 10);
  }
}

/** Create as kube-apiserver does it: if the key does not exist, put. */
export const create = new Template(
  txnRequest.encode({
    compare: [{ target: compareTargets.mod, key: someKey, modRevision: 0 }],
    success: [{ requestPut: { key: someKey, value } }],
  }),
);

/** Guarded update: if the key is unchanged, put, else tell what it is. */
export const update = new Template(
  txnRequest.encode({
    compare: [{ target: compareTargets.mod, key: someKey, modRevision: placeholderRevision }],
    success: [{ requestPut: { key: someKey, value } }],
    failure: [{ requestRange: { key: someKey } }],
  }),
);

export const get = new Template(rangeRequest.encode({ key: someKey, limit: 1 }));
export const put = new Template(putRequest.encode({ key: someKey, value }));

/** A page of a list, pinned to a revision as later pages are. */
export function listPage(fromIndex: number, revision: number): Buffer {
  return rangeRequest.encode({ key: keyOf(fromIndex), rangeEnd: prefixEnd, limit: pageSize, revision });
}

export const watchPrefix = watchRequest.encode({
  createRequest: { key: Buffer.from(prefix), rangeEnd: prefixEnd, prevKv: true, progressNotify: true },
});

/** The revision in an answer's header and, of a transaction, whether it took its success branch. */
export function readHeader(answer: Buffer): { succeeded: boolean; revision: number } {
  // ResponseHeader is field 1: cluster_id=1, member_id=2, revision=3, all varints.
  const end = 2 + answer[1]!;
  let at = 2;
  let revision = 0;
  while (at < end) {
    const field = answer[at++]! >>> 3;
    let scale = 1;
    let number = 0;
    for (let more = true; more; ) {
      const byte = answer[at++]!;
      number += (byte & 0x7f) * scale;
      scale *= 0x80;
      more = byte >= 0x80;
    }
    if (field === 3) revision = number;
  }
  return { succeeded: answer[end] === 0x10 && answer[end + 1] === 1, revision };
}

/** `more` (field 3) is true, and `count` (field 4) follows, at the end of a response. */
const moreThenCount = Buffer.from([0x18, 1, 0x20]);

/** Where a page ended: the index of its last object and whether more follow. */
export function readPage(answer: Buffer): { lastIndex: number; more: boolean; revision: number } {
  // Pages are 0.5 MB: only their ends are read.
  const more = answer.subarray(-16).includes(moreThenCount);
  const lastKey = answer.lastIndexOf(prefix) + prefix.length;
  return {
    lastIndex: Number(answer.toString("latin1", lastKey, lastKey + keyDigits)),
    more,
    revision: readHeader(answer).revision,
  };
}

const sequencePattern = Buffer.from("seq:");

/** Every sequence number that a watch response mentions, previous values included. */
export function* sequencesIn(message: Buffer): Generator<number> {
  for (let at = message.indexOf(sequencePattern); at >= 0; at = message.indexOf(sequencePattern, at + valueBytes)) {
    yield Number(message.toString("latin1", at + 4, at + 4 + keyDigits));
  }
}

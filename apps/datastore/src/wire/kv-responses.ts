import { keyValueSize, valueInKeyValue, varintSize, writeKeyValue, writeVarint } from "../engine/key-value-bytes.ts";
import type { DeleteOutcome, Outcome, PutOutcome, RangeOutcome, TxnOutcome } from "../engine/operations.ts";
import { finishRange, isCustom, sortsByValue } from "../engine/range.ts";
import type { ValueCache } from "../engine/value-cache.ts";
import type { Version } from "../engine/version.ts";
import { grpcFrame, grpcPrefixBytes } from "../server/rpc.ts";
import { bytesField, join, messageField, nothing, numberField, type Piece, writeBytes } from "./pieces.ts";

/** Lists of up to so many objects are read through the cache's ring; longer ones would wash everything else out of it. */
const warmedVersions = 2_000;

/**
 * Encoders from outcomes straight to response frames. Two passes over a small plan: sizes, then bytes, so that each
 * response is one allocation and each value is copied once, out of the cache.
 */
export class KvEncoder {
  /** The header's cluster id, member id and raft term, encoded: all but the revision. */
  readonly #identity: Buffer;
  readonly #cache: ValueCache;

  constructor(identity: Buffer, cache: ValueCache) {
    this.#identity = identity;
    this.#cache = cache;
  }

  /** The most common answer of all, without a plan: one key or none. */
  encodeGet(version: Version | undefined, keysOnly: boolean, revision: number): Buffer | Promise<Buffer> {
    if (version === undefined) return this.#writeGet(undefined, revision);
    if (keysOnly) return this.#writeGet(keyOnly(version), revision);
    const bytes = this.#cache.loadOne(version);
    return bytes instanceof Promise
      ? bytes.then((loaded) => this.#writeGet(loaded, revision))
      : this.#writeGet(bytes, revision);
  }

  /** `before` is the revision that a transaction found; without one it is that of the header. */
  encode(outcome: Outcome, revision: number, before = revision): Buffer | Promise<Buffer> {
    if (outcome.kind === "range" && !isCustom(outcome.op) && !outcome.op.keysOnly && !outcome.op.countOnly) {
      const frame = this.#writeCachedRange(outcome, revision);
      if (frame !== undefined) {
        this.#cache.hits += shownOf(outcome);
        return frame;
      }
      if (outcome.versions.length <= warmedVersions) return this.#warmRange(outcome, revision);
    }
    const wanted = versionsOf(outcome);
    if (wanted.length === 0) return this.#write(outcome, new Plan(new Map(), revision, before));
    const loaded = this.#cache.load(wanted);
    return loaded instanceof Promise
      ? loaded.then((list) => this.#write(outcome, new Plan(byVersion(wanted, list), revision, before)))
      : this.#write(outcome, new Plan(byVersion(wanted, loaded), revision, before));
  }

  /** A page of which the cache lacks something: through the ring, since every copy of a value costs the collector. */
  async #warmRange(outcome: RangeOutcome, revision: number): Promise<Buffer> {
    const wanted = versionsOf(outcome);
    await this.#cache.warm(wanted);
    const frame = this.#writeCachedRange(outcome, revision);
    if (frame !== undefined) return frame;
    const list = await this.#cache.loadCopies(wanted);
    return this.#write(outcome, new Plan(byVersion(wanted, list), revision, revision));
  }

  /** A response that is only a header. */
  encodeHeader(revision: number): Buffer {
    const headerSize = this.#headerSize(revision);
    const frame = grpcFrame(1 + varintSize(headerSize) + headerSize);
    this.#writeHeader(frame, grpcPrefixBytes, revision);
    return frame;
  }

  #writeGet(kv: Buffer | undefined, revision: number): Buffer {
    const headerSize = this.#headerSize(revision);
    let size = 1 + varintSize(headerSize) + headerSize;
    if (kv !== undefined) size += 1 + varintSize(kv.length) + kv.length + 2;
    const frame = grpcFrame(size);
    let at = this.#writeHeader(frame, grpcPrefixBytes, revision);
    if (kv === undefined) return frame;
    at = writeBytes(frame, at, 0x12, kv);
    frame[at++] = 0x20;
    frame[at] = 1;
    return frame;
  }

  /** A plain list whose values are all cached: copied from the cache's ring straight into the response. */
  #writeCachedRange(outcome: RangeOutcome, revision: number): Buffer | undefined {
    const { versions, count } = outcome;
    const cache = this.#cache;
    const shown = shownOf(outcome);
    const headerSize = this.#headerSize(revision);
    let size = 1 + varintSize(headerSize) + headerSize;
    for (let at = 0; at < shown; at++) {
      const offset = cache.locate(versions[at]!);
      if (offset < 0) return undefined;
      const length = cache.lengthAt(offset);
      size += 1 + varintSize(length) + length;
    }
    const more = shown < versions.length;
    if (more) size += 2;
    if (count > 0) size += 1 + varintSize(count);
    const frame = grpcFrame(size);
    let end = this.#writeHeader(frame, grpcPrefixBytes, revision);
    for (let at = 0; at < shown; at++) {
      const offset = cache.locate(versions[at]!);
      const length = cache.lengthAt(offset);
      frame[end++] = 0x12;
      end = writeVarint(frame, end, length);
      end += cache.ring.copy(frame, end, offset, offset + length);
    }
    if (more) {
      frame[end++] = 0x18;
      frame[end++] = 1;
    }
    if (count > 0) {
      frame[end++] = 0x20;
      writeVarint(frame, end, count);
    }
    return frame;
  }

  #write(outcome: Outcome, plan: Plan): Buffer {
    const { revision } = plan;
    const body = plan.response(outcome);
    const headerSize = this.#headerSize(revision);
    const frame = grpcFrame(1 + varintSize(headerSize) + headerSize + body.size);
    body.write(frame, this.#writeHeader(frame, grpcPrefixBytes, revision));
    return frame;
  }

  #headerSize(revision: number): number {
    return this.#identity.length + 1 + varintSize(revision);
  }

  #writeHeader(frame: Buffer, at: number, revision: number): number {
    frame[at++] = 0x0a;
    at = writeVarint(frame, at, this.#headerSize(revision));
    at += this.#identity.copy(frame, at);
    frame[at++] = 0x18;
    return writeVarint(frame, at, revision);
  }
}

/** Plans the fields after the header. Headers of operations inside a transaction carry only a revision. */
class Plan {
  readonly #kvs: Map<Version, Buffer>;
  readonly revision: number;
  readonly #before: number;

  constructor(kvs: Map<Version, Buffer>, revision: number, before: number) {
    this.#kvs = kvs;
    this.revision = revision;
    this.#before = before;
  }

  response(outcome: Outcome): Piece {
    switch (outcome.kind) {
      case "range":
        return this.#range(outcome);
      case "put":
        return this.#put(outcome);
      case "delete":
        return this.#delete(outcome);
      case "txn":
        return this.#txn(outcome);
    }
  }

  #range(outcome: RangeOutcome): Piece {
    const { op, count } = outcome;
    const finished = finishRange(outcome, (version) => {
      // Not loaded where there is nothing to sort.
      const bytes = this.#kvs.get(version);
      return bytes === undefined ? new Uint8Array(0) : valueInKeyValue(version, bytes);
    });
    const pieces: Piece[] = [];
    for (const version of finished.versions) {
      pieces.push(bytesField(0x12, op.keysOnly ? keyOnly(version) : this.#kvs.get(version)!));
    }
    if (finished.more) pieces.push(numberField(0x18, 1));
    if (count > 0) pieces.push(numberField(0x20, count));
    return join(pieces);
  }

  #put(outcome: PutOutcome): Piece {
    return outcome.previous === undefined ? nothing : bytesField(0x12, this.#kvs.get(outcome.previous)!);
  }

  #delete(outcome: DeleteOutcome): Piece {
    const pieces: Piece[] = [];
    if (outcome.deleted > 0) pieces.push(numberField(0x10, outcome.deleted));
    for (const version of outcome.previous) pieces.push(bytesField(0x1a, this.#kvs.get(version)!));
    return join(pieces);
  }

  #txn(outcome: TxnOutcome): Piece {
    const pieces: Piece[] = [];
    if (outcome.succeeded) pieces.push(numberField(0x10, 1));
    for (const inner of outcome.responses) pieces.push(messageField(0x1a, this.#operation(inner)));
    return join(pieces);
  }

  /** ResponseOp: response_range=1, response_put=2, response_delete_range=3, response_txn=4. */
  #operation(outcome: Outcome): Piece {
    const wrote = outcome.kind === "put" || outcome.afterWrite;
    // etcd leaves the header of a nested transaction empty.
    const inHeader = outcome.kind === "txn" ? nothing : numberField(0x18, wrote ? this.revision : this.#before);
    const header = messageField(0x0a, inHeader);
    const tags = { range: 0x0a, put: 0x12, delete: 0x1a, txn: 0x22 };
    return messageField(tags[outcome.kind], join([header, this.response(outcome)]));
  }
}

function keyOnly(version: Version): Buffer {
  const bytes = Buffer.allocUnsafe(keyValueSize(version, 0));
  writeKeyValue(bytes, 0, version, undefined);
  return bytes;
}

/** How many objects a plain range shows; it holds one version more than its limit, only to know that there is more. */
function shownOf({ op, versions }: RangeOutcome): number {
  return op.limit > 0 ? Math.min(versions.length, op.limit) : versions.length;
}

/** The versions whose values a response shows. */
export function versionsOf(outcome: Outcome): Version[] {
  const versions: Version[] = [];
  collect(outcome, versions);
  return versions;
}

function collect(outcome: Outcome, into: Version[]): void {
  switch (outcome.kind) {
    case "range": {
      if (outcome.op.keysOnly && !sortsByValue(outcome)) return;
      const { versions, op } = outcome;
      const shown = isCustom(op) ? versions.length : shownOf(outcome);
      for (let at = 0; at < shown; at++) into.push(versions[at]!);
      return;
    }
    case "put":
      if (outcome.previous !== undefined) into.push(outcome.previous);
      return;
    case "delete":
      into.push(...outcome.previous);
      return;
    case "txn":
      for (const inner of outcome.responses) collect(inner, into);
  }
}

function byVersion(versions: readonly Version[], bytes: readonly Buffer[]): Map<Version, Buffer> {
  const map = new Map<Version, Buffer>();
  for (let at = 0; at < versions.length; at++) map.set(versions[at]!, bytes[at]!);
  return map;
}

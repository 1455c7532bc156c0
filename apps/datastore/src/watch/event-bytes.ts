import { varintSize, writeVarint } from "../engine/key-value-bytes.ts";
import type { ValueCache } from "../engine/value-cache.ts";
import type { Version } from "../engine/version.ts";

/** The `events` fields of a WatchResponse, made once and sent to every watch that wants the same. */
export interface EncodedEvents {
  bytes: Buffer;
  /** Where each event ends, for a watch that asked for fragments. */
  ends: number[];
}

const eventsTag = 0x5a; // field 11, length-delimited

/**
 * Encodes versions as mvccpb.Event (type=1, kv=2, prev_kv=3). Answers later only when values must be fetched from a log
 * that cannot be read synchronously. `compacted` hides previous values that a reader could no longer ask for.
 */
export function encodeEvents(
  versions: readonly Version[],
  prevKv: boolean,
  compacted: number,
  cache: ValueCache,
): EncodedEvents | Promise<EncodedEvents> {
  if (!prevKv) {
    const loaded = cache.load(versions);
    return loaded instanceof Promise ? loaded.then((kvs) => write(versions, kvs)) : write(versions, loaded);
  }
  const wanted: Version[] = [];
  const previousAt = new Array<number>(versions.length).fill(-1);
  for (const version of versions) wanted.push(version);
  for (let at = 0; at < versions.length; at++) {
    const { revision, version } = versions[at]!;
    if (revision <= compacted || version === 1) continue;
    // The state before the revision, not before the operation.
    let { previous } = versions[at]!;
    while (previous !== undefined && previous.revision === revision) previous = previous.previous;
    if (previous === undefined || previous.version === 0) continue;
    previousAt[at] = wanted.length;
    wanted.push(previous);
  }
  const loaded = cache.load(wanted);
  return loaded instanceof Promise
    ? loaded.then((kvs) => write(versions, kvs, previousAt))
    : write(versions, loaded, previousAt);
}

function write(versions: readonly Version[], kvs: readonly Buffer[], previousAt?: readonly number[]): EncodedEvents {
  const sizes = new Array<number>(versions.length);
  let total = 0;
  for (let at = 0; at < versions.length; at++) {
    let size = versions[at]!.version === 0 ? 2 : 0;
    size += fieldSize(kvs[at]!.length);
    const previous = previousKv(kvs, previousAt, at);
    if (previous !== undefined) size += fieldSize(previous.length);
    sizes[at] = size;
    total += 1 + varintSize(size) + size;
  }
  const bytes = Buffer.allocUnsafe(total);
  const ends = new Array<number>(versions.length);
  let end = 0;
  for (let at = 0; at < versions.length; at++) {
    bytes[end++] = eventsTag;
    end = writeVarint(bytes, end, sizes[at]!);
    if (versions[at]!.version === 0) {
      bytes[end++] = 0x08;
      bytes[end++] = 1;
    }
    end = writeField(bytes, end, 0x12, kvs[at]!);
    const previous = previousKv(kvs, previousAt, at);
    if (previous !== undefined) end = writeField(bytes, end, 0x1a, previous);
    ends[at] = end;
  }
  return { bytes, ends };
}

function previousKv(kvs: readonly Buffer[], previousAt: readonly number[] | undefined, at: number): Buffer | undefined {
  const position = previousAt?.[at] ?? -1;
  return position < 0 ? undefined : kvs[position];
}

function fieldSize(length: number): number {
  return 1 + varintSize(length) + length;
}

function writeField(target: Buffer, at: number, tag: number, bytes: Buffer): number {
  target[at++] = tag;
  at = writeVarint(target, at, bytes.length);
  target.set(bytes, at);
  return at + bytes.length;
}

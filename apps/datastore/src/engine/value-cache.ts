import { encodeKeyValue, keyValueSize, valueInKeyValue, writeKeyValue } from "./key-value-bytes.ts";
import type { Version } from "./version.ts";

/** Reads values of rows; see AppendLog.readValues. */
export type ReadValues = (
  versions: readonly Version[],
) => (Uint8Array | undefined)[] | Promise<(Uint8Array | undefined)[]>;

/** The row of a version is not there: compaction has deleted it, at another replica, since the version was found. */
export class ValueGoneError extends Error {
  constructor(version: Version) {
    super(`the row of revision ${version.revision} is gone`);
    this.name = "ValueGoneError";
  }
}

/** Holds 50,000 objects of 1 KiB beside some superseded ones, and leaves room in 600 MB for the keys of a million. */
export const defaultCacheBytes = 64 << 20;

const recordHeaderBytes = 8;
/** A read of more than this share of the cache goes past it, so that one big list does not empty it. */
const largestFillShare = 1 / 8;

/**
 * Encoded KeyValues in one big ring of bytes: the newest writes and the latest reads that missed. A version remembers
 * where its bytes were put; they are still there unless the ring has since come around. No per-value objects, so the
 * cache costs what it holds.
 */
export class ValueCache {
  readonly ring: Buffer;
  readonly #capacity: number;
  readonly #read: ReadValues;
  /** Bytes ever written, padding included; its remainder is the place in the ring. */
  #end = 0;
  /** Values whose rows are not committed yet, so that the log cannot be asked for them. */
  readonly #uncommitted = new Map<Version, Uint8Array | undefined>();
  hits = 0;
  misses = 0;

  constructor(capacityBytes: number, read: ReadValues) {
    this.#capacity = Math.max(1 << 16, capacityBytes & ~7);
    // Untouched memory costs nothing: the pages come into being as the ring fills.
    this.ring = Buffer.allocUnsafeSlow(this.#capacity);
    this.#read = read;
  }

  /** Takes the value of a row that was just given its final revision, before its commit. */
  stage(version: Version, value: Uint8Array | undefined): void {
    this.#uncommitted.set(version, value);
    this.#store(version, value);
  }

  /** The row is committed, or taken back: the log decides from now on. */
  settle(version: Version): void {
    this.#uncommitted.delete(version);
  }

  /** Takes the value of a committed row that came along with it. */
  add(version: Version, value: Uint8Array | undefined): void {
    this.#store(version, value);
  }

  /** The value of a row that this batch has staged and not yet encoded, or that is cached, or undefined. */
  peekValue(version: Version): Uint8Array | undefined {
    const staged = this.#uncommitted.get(version);
    if (staged !== undefined) return staged;
    const bytes = this.#find(version);
    return bytes === undefined ? undefined : valueInKeyValue(version, bytes);
  }

  /** Where the encoded KeyValue of a version lies in {@link ring}, or -1 when it is not cached. */
  locate(version: Version): number {
    if (version.slot < 0) return -1;
    const position = version.slot * 8;
    return position >= this.#end - this.#capacity ? (position % this.#capacity) + recordHeaderBytes : -1;
  }

  /** Length of the encoded KeyValue at an offset that {@link locate} returned. */
  lengthAt(offset: number): number {
    return this.ring.readUInt32LE(offset - recordHeaderBytes);
  }

  /**
   * Encoded KeyValues, in order. Synchronous results are views into the ring: use them before anything else runs. Throws
   * {@link ValueGoneError}; who waits for values should keep compaction away (see MvccStore.hold).
   */
  load(versions: readonly Version[]): Buffer[] | Promise<Buffer[]> {
    const found = new Array<Buffer>(versions.length);
    let missing: number[] | undefined;
    for (let at = 0; at < versions.length; at++) {
      const bytes = this.#find(versions[at]!);
      if (bytes !== undefined) found[at] = bytes;
      else if (missing === undefined) missing = [at];
      else missing.push(at);
    }
    this.hits += versions.length - (missing?.length ?? 0);
    return missing === undefined ? found : this.#loadMissing(versions, found, missing);
  }

  /** As {@link load} for one version. */
  loadOne(version: Version): Buffer | Promise<Buffer> {
    const bytes = this.#find(version);
    if (bytes !== undefined) {
      this.hits++;
      return bytes;
    }
    const loaded = this.load([version]);
    return loaded instanceof Promise ? loaded.then((list) => list[0]!) : loaded[0]!;
  }

  /** As {@link load}, for whoever cannot use the bytes at once. */
  async loadCopies(versions: readonly Version[]): Promise<Buffer[]> {
    const loaded = this.load(versions);
    if (loaded instanceof Promise) return await loaded;
    keepCopies(loaded);
    return loaded;
  }

  /**
   * Reads into the {@link ring} what of `versions` is not there, for who copies out of it afterwards: that spares two copies
   * of each value. The ring moves on, so {@link locate} has the last word. Does nothing when it is too much to be kept.
   */
  async warm(versions: readonly Version[]): Promise<void> {
    const missing = versions.filter((version) => this.locate(version) < 0 && !this.#uncommitted.has(version));
    this.hits += versions.length - missing.length;
    this.misses += missing.length;
    const values = await this.#read(missing);
    if (!this.#isKept(missing, values)) return;
    for (let at = 0; at < missing.length; at++) {
      const version = missing[at]!;
      const value = values[at];
      if (value !== undefined || version.version === 0) this.#store(version, value);
    }
  }

  #loadMissing(
    versions: readonly Version[],
    found: Buffer[],
    missing: readonly number[],
  ): Buffer[] | Promise<Buffer[]> {
    this.misses += missing.length;
    const wanted = missing.map((at) => versions[at]!);
    const values = this.#read(wanted);
    // The ring moves on, when these are stored or while the log is read: keep what was found, not where it was.
    if (missing.length < found.length) keepCopies(found);
    return values instanceof Promise
      ? values.then((list) => this.#fill(versions, found, missing, list, false))
      : this.#fill(versions, found, missing, values, true);
  }

  /** Adds what was read, to the cache too unless it is much. In place: as views into the ring. */
  #fill(
    versions: readonly Version[],
    found: Buffer[],
    missing: readonly number[],
    values: readonly (Uint8Array | undefined)[],
    inPlace: boolean,
  ): Buffer[] {
    const wanted = missing.map((at) => versions[at]!);
    const isKept = this.#isKept(wanted, values);
    for (let at = 0; at < missing.length; at++) {
      const version = wanted[at]!;
      const value = values[at];
      if (value === undefined && version.version !== 0) throw new ValueGoneError(version);
      if (isKept) this.#store(version, value);
      found[missing[at]!] = (isKept && inPlace ? this.#find(version) : undefined) ?? encodeKeyValue(version, value);
    }
    return found;
  }

  /** Whether what was read is little enough to go into the ring. */
  #isKept(versions: readonly Version[], values: readonly (Uint8Array | undefined)[]): boolean {
    let bytes = 0;
    for (let at = 0; at < versions.length; at++) {
      bytes += recordSize(keyValueSize(versions[at]!, values[at]?.length ?? 0));
    }
    return bytes <= this.#capacity * largestFillShare;
  }

  #find(version: Version): Buffer | undefined {
    const offset = this.locate(version);
    if (offset >= 0) return this.ring.subarray(offset, offset + this.lengthAt(offset));
    if (this.#uncommitted.size > 0 && this.#uncommitted.has(version)) {
      return encodeKeyValue(version, this.#uncommitted.get(version));
    }
    return undefined;
  }

  #store(version: Version, value: Uint8Array | undefined): void {
    const length = keyValueSize(version, value?.length ?? 0);
    const offset = this.#reserve(version, length);
    if (offset >= 0) writeKeyValue(this.ring, offset, version, value);
  }

  /** Makes room for one record and notes its place in the version; -1 when it is too large to be kept. */
  #reserve(version: Version, length: number): number {
    const total = recordSize(length);
    if (total > this.#capacity * largestFillShare) return -1;
    const left = this.#capacity - (this.#end % this.#capacity);
    if (total > left) this.#end += left;
    const offset = this.#end % this.#capacity;
    version.slot = this.#end / 8;
    this.#end += total;
    this.ring.writeUInt32LE(length, offset);
    return offset + recordHeaderBytes;
  }
}

/** What a KeyValue of so many bytes takes up in the ring. */
function recordSize(length: number): number {
  return (recordHeaderBytes + length + 7) & ~7;
}

/** In place; what is still missing stays so. */
function keepCopies(views: Buffer[]): void {
  views.forEach((view, at) => {
    views[at] = Buffer.from(view);
  });
}

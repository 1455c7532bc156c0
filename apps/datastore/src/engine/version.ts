import type { Lease } from "./lease.ts";

/**
 * A key as the engine holds it: its bytes as a latin1 string, one code unit a byte. JavaScript orders such strings as
 * etcd orders keys (bytewise), hashes them once and stores them in one byte a character.
 */
export type Key = string;

/** One version of one key: a row of the log. Its value stays in the log; a cache may hold it (see ValueCache). */
export class Version {
  readonly entry: KeyEntry;
  /** Row id in the log. */
  id: number;
  /** Revision of the transaction that wrote the row: the id of that transaction's last row. */
  revision: number;
  /** Revision that created the key's present generation; 0 on a tombstone. */
  createRevision: number;
  /** 1 for the put that created the key, counting up; 0 marks a tombstone. */
  version: number;
  lease: Lease | undefined;
  /** The version this one superseded, until compaction takes it away. */
  previous: Version | undefined;
  /** Where the value cache put the encoded KeyValue; -1 when it never did. */
  slot: number;

  constructor(
    entry: KeyEntry,
    id: number,
    createRevision: number,
    version: number,
    lease: Lease | undefined,
    previous: Version | undefined,
  ) {
    this.entry = entry;
    this.id = id;
    this.revision = id;
    this.createRevision = createRevision;
    this.version = version;
    this.lease = lease;
    this.previous = previous;
    this.slot = -1;
  }

  get isTombstone(): boolean {
    return this.version === 0;
  }

  get isCreate(): boolean {
    return this.version === 1;
  }
}

/** A key and its newest version, which may still wait for its commit. */
export class KeyEntry {
  readonly key: Key;
  head: Version | undefined;

  constructor(key: Key) {
    this.key = key;
    this.head = undefined;
  }

  /** The version a reader at `revision` sees, or undefined when the key did not exist then. */
  at(revision: number): Version | undefined {
    let version = this.head;
    while (version !== undefined && version.revision > revision) version = version.previous;
    return version === undefined || version.version === 0 ? undefined : version;
  }
}

import type { LeaseChange, LogRow, StoredLease, StoredRow } from "../append-log.ts";

/**
 * What {@link SharedLog} needs of a database: the statements, and nothing about replicas, ordering or retries. All
 * methods but the writer's may run at the same time; the writer's ({@link lock}, {@link commit}, {@link unlock}) follow
 * one another. They reject with a {@link SqlFailure}.
 */
export interface SqlDatabase {
  readonly kind: "postgres" | "mysql";
  /** False when a row can be read before it is safe on disk; then {@link makeDurable} must come before its use. */
  readonly visibleMeansDurable: boolean;

  /** Connects, creates or migrates the tables under a lock, verifies the indexes. */
  open(memberId: bigint): Promise<OpenedDatabase>;
  /** Rows above `afterId` in id order, at most `limit`, without values; kine's own rows are left out. */
  loadRows(afterId: number, limit: number, onRow: (row: StoredRow) => void): Promise<PageEnd>;
  loadLeases(): Promise<StoredLease[]>;
  settings(): Promise<Map<string, string>>;

  /** One consistent look from outside the lock. `rows` are at most `limit`, the oldest first. */
  look(from: Cursor, limit: number): Promise<Look>;
  /** Begins a transaction, takes the sequencer lock in it, and looks. */
  lock(from: Cursor, limit: number): Promise<Look>;
  /** Writes the batch and ends the transaction that {@link lock} began. */
  commit(batch: SequencedBatch): Promise<void>;
  /** Ends that transaction without having written. Never rejects. */
  unlock(): void;
  /** Batch number that this member's newest commit wrote; asked under the lock. */
  lastBatch(memberId: bigint): Promise<number>;
  /** Returns when everything that was visible at the call is safe on disk. */
  makeDurable(memberId: bigint): Promise<void>;

  /** Deletes rows; missing ones are no error. */
  purge(ids: readonly number[]): Promise<void>;
  /** Values in the order of the ids; undefined where the row is gone. The next call may overwrite them. */
  values(ids: readonly number[]): Promise<(Uint8Array | undefined)[]>;
  size(): Promise<{ total: number; inUse: number }>;
  defragment(): Promise<void>;
  /** Writes this member's heartbeat and client URLs, forgets members silent for long, and returns the live ones. */
  beat(member: { id: bigint; name: string; clientUrls: readonly string[] }): Promise<MemberRow[]>;
  forgetMember(id: bigint): Promise<void>;
  /** Copies previous values that kine wants into rows above `afterId`; returns how many rows it changed. */
  handBack(afterId: number, limit: number): Promise<number>;

  /** Calls back when another member says it wrote (NOTIFY); databases without notifications never call. */
  onNotify(listener: () => void): void;
  /** True while notifications arrive, so that polling may be slow. */
  readonly notified: boolean;
  /** Whether a stored name for this key fits the index. */
  fitsKey(key: string): boolean;
  close(): Promise<void>;
}

export interface OpenedDatabase {
  clusterId: bigint;
  lastId: number;
  changeSeq: number;
  /** -1 when never compacted. */
  compactedRevision: number;
  era: number;
}

/** How far a replica has followed the log. */
export interface Cursor {
  id: number;
  /** Number of the newest lease or settings change. */
  changeSeq: number;
}

export interface PageEnd {
  /** How many rows there were, kine's own included. */
  seen: number;
  /** Id of the newest row looked at, kine's own included; undefined when there were none. */
  lastId: number | undefined;
}

export interface RowPage extends PageEnd {
  rows: StoredRow[];
}

export interface Look {
  lastId: number;
  changeSeq: number;
  compactedRevision: number;
  /** Changes when the database was found to have lost commits; what was read in another era may not be there. */
  era: number;
  page: RowPage;
  /** Lease changes after the cursor's; empty unless `changeSeq` moved. */
  leases: LeaseChange[];
  /** Present when `changeSeq` moved. */
  settings: Map<string, string> | undefined;
}

export interface SequencedBatch {
  memberId: bigint;
  /** Counts this member's commits, so that a commit whose answer was lost can be recognised. */
  batchNumber: number;
  rows: readonly LogRow[];
  leases: readonly LeaseChange[];
  settings: ReadonlyMap<string, string | undefined>;
  compactedRevision: number | undefined;
  /** The log's state after this batch. */
  lastId: number;
  changeSeq: number;
  era: number;
}

export interface MemberRow {
  id: bigint;
  name: string;
  clientUrls: string[];
}

/**
 * A failed statement. `fate` says what became of the transaction: `refused` (certainly nothing happened), `retry`
 * (nothing happened and the same again may work: deadlock, lock timeout, fail-over) or `unknown` (the connection went
 * away, so it may have been committed).
 */
export class SqlFailure extends Error {
  readonly fate: "refused" | "retry" | "unknown";

  constructor(message: string, fate: SqlFailure["fate"], cause: unknown) {
    super(message, { cause });
    this.name = "SqlFailure";
    this.fate = fate;
  }
}

import type { Key } from "../engine/version.ts";

/**
 * The append-only log under the engine: kine's table in SQLite, PostgreSQL or MySQL. A driver stores and returns rows;
 * it never interprets a request. The contract:
 *
 * 1. **Ids are revisions.** The engine chooses ids, densely from the newest id on. Ids become visible in order, because
 *    writing needs the *turn* ({@link AppendLog.acquire}) and whoever has the turn first sees every row before it.
 * 2. **A turn ends by {@link LogTurn.commit} or {@link LogTurn.release}.** `commit` resolves when the batch is durable
 *    and applies all of it or nothing. It rejects when the batch failed *or its fate is unknown*: the engine then
 *    takes the batch back, and before the next `acquire` resolves the sink gets any rows of it that turn out to be
 *    there. A driver need not find out itself.
 * 3. **An exclusive log** (SQLite) has no other writer. Its `acquire` may answer while earlier batches still commit, so
 *    that evaluation runs ahead; batches commit in the order of their `commit` calls, and after one fails all later
 *    ones fail until the next `acquire`.
 * 4. **A shared log** (PostgreSQL, MySQL) is written by several replicas. `acquire` takes the sequencer lock (advisory
 *    lock, sequencer row) in a transaction that `commit` ends; under the lock the sink gets everything others wrote.
 *    {@link AppendLog.readIndex} serves linearizable reads; NOTIFY and polls feed the sink of an idle replica.
 * 5. **What others wrote comes through the {@link ForeignSink} only**, called synchronously, rows strictly ascending, no
 *    row twice, and never between the moment `acquire` resolves and the end of the turn (nobody else can write then).
 * 6. **Failures** reject with a {@link LogUnavailableError}. The driver reconnects by itself; the engine asks again.
 */
export interface AppendLog {
  /** "sqlite", "postgres", "mysql": for metrics and messages. */
  readonly kind: string;
  readonly exclusive: boolean;

  /** Connects, creates or migrates the tables, verifies what correctness rests on, and returns the state. */
  open(sink: ForeignSink): Promise<LogState>;

  /** Makes this replica known to the others, once its addresses are known. */
  announce(member: { name: string; clientUrls: readonly string[] }): void;

  /**
   * Streams every row in id order, without values, and then the leases. Called right after `open`, and again after
   * {@link ForeignSink.lost}; the sink is not called before it has ended. Rows that are only kine's housekeeping (its compaction row, gap rows) are left out.
   */
  load(onRow: (row: StoredRow) => void, onLease: (lease: StoredLease) => void): Promise<void>;

  /** Waits for the right to append the next batch. When it resolves, the sink has had everything others wrote. */
  acquire(): LogTurn | Promise<LogTurn>;

  /**
   * For a linearizable read on a shared log: resolves when the sink has had every row that was committed before the
   * call, and own commits up to there have settled. Concurrent callers share one query. On an exclusive log there is
   * nothing to learn: undefined.
   */
  readIndex(): Promise<void> | undefined;

  /**
   * Values of rows, in the order of the ids; undefined where a row is gone. Synchronous where the driver can, because
   * reads that need no waiting stay on the fast path. Use the values in the turn of the event loop in which they arrive:
   * their memory is used again for the next.
   */
  readValues(ids: readonly number[]): (Uint8Array | undefined)[] | Promise<(Uint8Array | undefined)[]>;

  /** Whether a key fits the database's index. Absent where any does: a put of one that does not is refused. */
  fitsKey?(key: Key): boolean;

  /** The disk is full: of all writes only those that free space are to be tried. Absent where the driver cannot tell. */
  readonly isFull?: boolean;

  /** Bytes allocated and bytes in use. May be some seconds old. */
  size(): { total: number; inUse: number } | Promise<{ total: number; inUse: number }>;

  /** Gives unused space back to the operating system, in steps that let writers through. */
  defragment(): Promise<void>;

  /** Live replicas on this log, this one included; see {@link LogMember}. */
  members(): LogMember[] | Promise<LogMember[]>;

  /** Leaves the tables as kine expects them (old values, sequence) and lets go of the database. */
  close(): Promise<void>;
}

/** Where a log delivers what this replica did not write itself. */
export interface ForeignSink {
  apply(changes: ForeignChanges): void;
  /**
   * This replica was cut off so long that compaction passed rows it never saw: its memory cannot be brought up to date
   * row by row. The engine drops it and calls `load` again; until that ends, the driver's `acquire` and `readIndex` wait.
   */
  lost(state: LogState): void;
}

export interface LogTurn {
  commit(batch: LogBatch): Promise<void>;
  /** Gives the turn back unused. */
  release(): void;
}

export interface LogState {
  /** Random, made once per database: etcd's cluster id. */
  clusterId: bigint;
  /** This replica's id; non-zero. */
  memberId: bigint;
  /** Newest revision ever given out, even if compaction has removed its row. A new database is at 1. */
  currentRevision: number;
  /** Reads below fail; -1 when never compacted. */
  compactedRevision: number;
  /** Small persistent settings (alarms). */
  settings: Map<string, string>;
}

/** A row as `load` and foreign changes return it. */
export interface StoredRow {
  id: number;
  key: Key;
  created: boolean;
  deleted: boolean;
  /** 0 on create rows and tombstones. */
  createRevision: number;
  /** Granted TTL in seconds, kine's meaning of the column; 0 for none. */
  leaseTtlSeconds: number;
  /** 0n when the row names no lease of ours (none, or kine wrote it). */
  leaseId: bigint;
  /** 0 when kine wrote the row; the engine then derives it from the row before. */
  version: number;
  /** Last row id of the transaction; 0 when the row is alone. */
  txnLast: number;
  /** Present in foreign changes, absent from `load`; undefined on tombstones. */
  value?: Uint8Array;
}

export interface StoredLease {
  id: bigint;
  ttlSeconds: number;
}

export interface ForeignChanges {
  /** With values. */
  rows: StoredRow[];
  /** Grants and renewals take effect before the rows, revocations after them. */
  leases: LeaseChange[];
  /** The log's present compacted revision, -1 when never compacted. */
  compactedRevision: number;
  /** On a shared log all settings that there are now; on an exclusive one none, since nobody else changes them. */
  settings: Map<string, string>;
}

export type LeaseChange =
  | { kind: "grant"; id: bigint; ttlSeconds: number }
  | { kind: "revoke"; id: bigint }
  | { kind: "renew"; id: bigint };

/** A row to append. */
export interface LogRow {
  id: number;
  key: Key;
  created: boolean;
  deleted: boolean;
  /** 0 on create rows and tombstones, as kine has it. */
  createRevision: number;
  /** Row id of the version this one supersedes; 0 when there is none. */
  previousId: number;
  leaseTtlSeconds: number;
  leaseId: bigint;
  version: number;
  /** Last row id of the transaction, or 0 when the row is alone. */
  txnLast: number;
  /** Undefined on tombstones. */
  value: Uint8Array | undefined;
}

/** All of one commit. Empty lists are common. */
export interface LogBatch {
  rows: LogRow[];
  leases: LeaseChange[];
  /** Settings to write; undefined removes one. */
  settings: Map<string, string | undefined>;
  /** New compacted revision, moved together with the rest. */
  compactedRevision: number | undefined;
  /** Rows that compaction no longer needs. Already missing ones are no error. */
  purgeIds: number[];
}

export interface LogMember {
  id: bigint;
  name: string;
  clientUrls: string[];
}

/** The log cannot serve now. Clients get Unavailable and may retry; `retryable` false marks a broken set-up. */
export class LogUnavailableError extends Error {
  constructor(message: string, cause: unknown) {
    super(message, { cause });
    this.name = "LogUnavailableError";
  }
}

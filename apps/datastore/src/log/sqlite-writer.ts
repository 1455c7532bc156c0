/**
 * The writer thread of the SQLite log: the only connection that writes. It lives off the main thread so that a commit
 * that waits for the disk never keeps the server from answering reads and from saying that the disk is slow.
 */
import { DatabaseSync } from "node:sqlite";
import { parentPort, workerData } from "node:worker_threads";
import { errorMessage } from "@keelson/service";
import { compactRow } from "./kine-names.ts";
import { type PackedBatch, unpackRows } from "./sqlite-batch.ts";
import { DiskReserve, isDiskFull, reserveBytes } from "./sqlite-reserve.ts";
import { writerPragmas } from "./sqlite-schema.ts";

export type WriterRequest =
  | { kind: "commit"; batch: PackedBatch }
  /** Forgives an earlier failure: batches are accepted again. Answered when all earlier requests are. */
  | { kind: "reset" }
  /** Gives up to `pages` free pages back; answers with how many are left. */
  | { kind: "vacuum"; pages: number }
  /** Copies previous values that kine wants into rows written since `afterId`, newest first, at most `limit` rows. */
  | { kind: "handBack"; afterId: number; limit: number }
  /** Takes the disk space that is kept for deletions; answers 1, or 0 while the disk is full. */
  | { kind: "reserve" }
  | { kind: "close" };

/** `isFull`: the disk has no room, and what was kept for deletions has been let go. */
export type WriterAnswer = { error?: string; value?: number; isFull?: boolean };

const { path } = workerData as { path: string };
const port = parentPort!;
const db = new DatabaseSync(path);
for (const pragma of writerPragmas) db.exec(pragma);
const reserve = new DiskReserve(path);

const begin = db.prepare("BEGIN IMMEDIATE");
const commit = db.prepare("COMMIT");
const insert = db.prepare(
  "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, version, lease_id, txn_last)" +
    " VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
);
// kine delivers a deletion with the value that was deleted, so that one is copied at once; see handBack for the rest.
const copyDeleted = db.prepare(
  "UPDATE kine SET old_value = (SELECT value FROM kine AS before WHERE before.id = kine.prev_revision) WHERE id = ?",
);
const purge = db.prepare("DELETE FROM kine WHERE id = ?");
const compact = db.prepare("UPDATE kine SET prev_revision = ? WHERE name = ?");
const grantLease = db.prepare("INSERT OR REPLACE INTO keelson_lease (id, ttl) VALUES (?, ?)");
const revokeLease = db.prepare("DELETE FROM keelson_lease WHERE id = ?");
const setSetting = db.prepare("INSERT OR REPLACE INTO keelson_meta (name, value) VALUES (?, ?)");
const removeSetting = db.prepare("DELETE FROM keelson_meta WHERE name = ?");

/** Free pages that a full disk is given back at once, as much as the reserve. */
const vacuumPages = reserveBytes / 4_096;

/** Set by a failed batch: later ones were evaluated on top of it and must fail too, until the engine says reset. */
let failure: string | undefined;
/** The reserve has been let go and cannot be had again. */
let isFull = false;

port.on("message", (request: WriterRequest) => {
  port.postMessage(answer(request));
  if (request.kind === "close") port.close();
});

function answer(request: WriterRequest): WriterAnswer {
  try {
    switch (request.kind) {
      case "commit":
        return commitBatch(request.batch);
      case "reset":
        failure = undefined;
        return {};
      case "vacuum":
        db.exec(`PRAGMA incremental_vacuum(${request.pages})`);
        return { value: db.prepare("PRAGMA freelist_count").get()!.freelist_count as number };
      case "handBack":
        return { value: handBack(request.afterId, request.limit) };
      case "reserve":
        isFull = !takeReserve();
        return { value: isFull ? 0 : 1 };
      case "close":
        db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
        db.close();
        return {};
    }
  } catch (error) {
    return { error: errorMessage(error) };
  }
}

function commitBatch(batch: PackedBatch): WriterAnswer {
  if (failure !== undefined) return { error: failure };
  try {
    begin.run();
    write(batch);
    commit.run();
    return {};
  } catch (error) {
    failure = errorMessage(error);
    if (db.isTransaction) db.exec("ROLLBACK");
    if (isDiskFull(error)) makeRoom();
    return { error: failure, isFull };
  }
}

/** Lets the reserve go, and the space of the write-ahead log: it grows no more while its content fits into the file. */
function makeRoom(): void {
  if (reserve.release()) isFull = true;
  emptyWriteAheadLog();
}

/** Deleted rows leave free pages in the file: some of them are given back when the disk has nothing else. */
function takeReserve(): boolean {
  if (reserve.take()) return true;
  db.exec(`PRAGMA incremental_vacuum(${vacuumPages})`);
  emptyWriteAheadLog();
  return reserve.take();
}

/** A reader that is in the way makes it wait for the next time. */
function emptyWriteAheadLog(): void {
  db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").get();
}

function write(batch: PackedBatch): void {
  for (const id of batch.purgeIds) purge.run(id);
  unpackRows(batch, (parameters) => {
    insert.run(...parameters);
    // Without room for another copy kine gets it at a clean stop.
    if (parameters[3] === 1 && !isFull) copyDeleted.run(parameters[0]);
  });
  if (batch.compactedRevision !== undefined) compact.run(batch.compactedRevision, compactRow);
  for (const change of batch.leases) {
    if (change.kind === "grant") grantLease.run(change.id, change.ttlSeconds);
    else if (change.kind === "revoke") revokeLease.run(change.id);
  }
  for (const [name, value] of batch.settings) {
    if (value === undefined) removeSetting.run(name);
    else setSetting.run(name, value);
  }
}

function handBack(afterId: number, limit: number): number {
  return Number(
    db
      .prepare(
        "UPDATE kine SET old_value = (SELECT value FROM kine AS before WHERE before.id = kine.prev_revision)" +
          " WHERE id IN (SELECT id FROM kine WHERE id > ? AND old_value IS NULL AND prev_revision <> 0 AND name <> ?" +
          " ORDER BY id DESC LIMIT ?)",
      )
      .run(afterId, compactRow, limit).changes,
  );
}

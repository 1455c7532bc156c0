import type { LeaseChange } from "../append-log.ts";
import { insertStatements, quoteBytes } from "./mysql-literals.ts";
import type { SequencedBatch } from "./sql-database.ts";

export const now = "UTC_TIMESTAMP(3)";

/**
 * Rows that grow by a value on pages that are full cost many times what their insert did: with more of them than this,
 * clients would time out. They get the values when the table is handed back; clients of kine never delete so many at once.
 */
const maxCopiedDeletions = 2_000;

/** A member's row, to be continued by what to update when it exists. */
export function touchMember(memberId: bigint, batch = 0): string {
  return `INSERT INTO keelson_member (id, name, client_urls, batch, seen_at) VALUES (${memberId}, '', '[]', ${batch}, ${now})`;
}

/** Gives rows the value of the row before, as kine wants it. */
export function copyOldValues(ids: readonly number[]): string {
  return `UPDATE kine k JOIN kine p ON p.id = k.prev_revision SET k.old_value = p.value WHERE k.id IN (${ids.join()})`;
}

/** The statements of one batch, without COMMIT. */
export function commitStatements(batch: SequencedBatch, maxBytes: number): string[] {
  const { rows, leases, settings, compactedRevision, memberId, batchNumber, lastId, changeSeq } = batch;
  const statements = insertStatements(rows, maxBytes);
  // kine delivers a deletion with the value that was deleted.
  const deleted = rows.filter((row) => row.deleted).map(({ id }) => id);
  if (deleted.length > 0 && deleted.length <= maxCopiedDeletions) statements.push(copyOldValues(deleted));
  statements.push(...leaseStatements(leases, changeSeq));
  for (const [name, value] of settings) {
    const key = quoteBytes(Buffer.from(name));
    statements.push(
      value === undefined
        ? `DELETE FROM keelson_meta WHERE name = ${key}`
        : `REPLACE INTO keelson_meta (name, value) VALUES (${key}, ${quoteBytes(Buffer.from(value))})`,
    );
  }
  if (compactedRevision !== undefined) {
    statements.push(
      `UPDATE kine SET prev_revision = ${compactedRevision} WHERE name = 'compact_rev_key' AND prev_revision < ${compactedRevision}`,
    );
  }
  statements.push(
    `UPDATE keelson_sequencer SET last_id = ${lastId}, change_seq = ${changeSeq}, compacted = GREATEST(compacted, ${compactedRevision ?? -1}), era = ${batch.era} WHERE id = 1`,
    `${touchMember(memberId, batchNumber)} ON DUPLICATE KEY UPDATE batch = ${batchNumber}, seen_at = ${now}`,
  );
  return statements;
}

function leaseStatements(leases: readonly LeaseChange[], changeSeq: number): string[] {
  const statements: string[] = [];
  const ids = (kind: LeaseChange["kind"]): bigint[] =>
    leases.filter((change) => change.kind === kind).map(({ id }) => id);
  const granted = leases.filter((change) => change.kind === "grant");
  if (granted.length > 0) {
    const tuples = granted.map(({ id, ttlSeconds }) => `(${id}, ${ttlSeconds}, 0, ${changeSeq}, ${changeSeq})`);
    statements.push(`REPLACE INTO keelson_lease (id, ttl, revoked, granted_at, changed_at) VALUES ${tuples.join()}`);
  }
  const renewed = ids("renew");
  if (renewed.length > 0) {
    statements.push(
      `UPDATE keelson_lease SET changed_at = ${changeSeq} WHERE revoked = 0 AND id IN (${renewed.join()})`,
    );
  }
  const revoked = ids("revoke");
  if (revoked.length > 0) {
    statements.push(`UPDATE keelson_lease SET changed_at = ${changeSeq}, revoked = 1 WHERE id IN (${revoked.join()})`);
  }
  return statements;
}

import type { Version } from "../engine/version.ts";
import type { LogBatch, LogRow } from "../log/append-log.ts";

/** The column is 32 bits wide outside SQLite. */
const maxStoredTtlSeconds = 2_147_483_647;

export function emptyBatch(): LogBatch {
  return { rows: [], leases: [], settings: new Map(), compactedRevision: undefined, purgeIds: [] };
}

export function isEmpty(batch: LogBatch): boolean {
  return (
    batch.rows.length === 0 &&
    batch.leases.length === 0 &&
    batch.settings.size === 0 &&
    batch.compactedRevision === undefined &&
    batch.purgeIds.length === 0
  );
}

/** The row of a staged version. `txnLast` is 0 when it is alone in its transaction. */
export function logRow(version: Version, value: Uint8Array | undefined, txnLast: number): LogRow {
  const { lease, previous } = version;
  return {
    id: version.id,
    key: version.entry.key,
    created: version.version === 1,
    deleted: version.version === 0,
    createRevision: version.version > 1 ? version.createRevision : 0,
    previousId: previous?.id ?? 0,
    leaseTtlSeconds: Math.min(lease?.ttlSeconds ?? 0, maxStoredTtlSeconds),
    leaseId: lease === undefined || !lease.listed ? 0n : lease.id,
    version: version.version,
    txnLast,
    value,
  };
}

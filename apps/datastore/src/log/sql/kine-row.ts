import type { LogRow, StoredRow } from "../append-log.ts";
import { compactRow, isGapRow, keyOfName, nameOfKey, unwrapCompactValue, wrapCompactValue } from "../kine-names.ts";

/** A row's columns as a driver reads them, the name already decoded. Null where kine left a column empty. */
export interface KineColumns {
  id: number;
  name: string;
  created: boolean;
  deleted: boolean;
  createRevision: number;
  previousId: number;
  leaseTtlSeconds: number;
  /** Null when the column was not asked for. */
  value: Uint8Array | null;
  version: number;
  leaseId: bigint;
  txnLast: number;
}

/** The name a row is stored under, before the database's own encoding of it. */
export function storedName(row: LogRow): string {
  return nameOfKey(row.key);
}

export function storedValue(row: LogRow): Uint8Array | undefined {
  return row.key === compactRow && row.value !== undefined ? wrapCompactValue(row.version, row.value) : row.value;
}

/** A client's value out of what the table holds under that name. */
export function clientValue(name: string, value: Uint8Array): Uint8Array {
  return keyOfName(name) === compactRow ? unwrapCompactValue(value).value : value;
}

/** The row for the engine, or undefined when it is only kine's housekeeping. */
export function toStoredRow(columns: KineColumns, withValue: boolean): StoredRow | undefined {
  const { id, name, created, deleted, previousId, value } = columns;
  if (name === compactRow || isGapRow(name, created, deleted, previousId)) return undefined;
  const row: StoredRow = {
    id,
    key: keyOfName(name),
    created,
    deleted,
    createRevision: columns.createRevision,
    leaseTtlSeconds: columns.leaseTtlSeconds,
    leaseId: columns.leaseId,
    version: columns.version,
    txnLast: columns.txnLast,
  };
  if (withValue && !deleted) row.value = clientValue(name, value ?? new Uint8Array(0));
  return row;
}

/** Values of rows that superseded another row of the same batch: no statement can read those before the commit. */
export function previousValuesInBatch(rows: readonly LogRow[]): Map<number, Uint8Array> {
  const values = new Map<number, Uint8Array>();
  const first = rows[0]?.id ?? 0;
  for (const row of rows) {
    if (!row.deleted || row.previousId < first) continue;
    const previous = rows.find(({ id }) => id === row.previousId);
    const value = previous === undefined ? undefined : storedValue(previous);
    if (value !== undefined) values.set(row.id, value);
  }
  return values;
}

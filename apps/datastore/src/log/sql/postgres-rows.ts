import type { LeaseChange, StoredRow } from "../append-log.ts";
import { clientValue, type KineColumns, toStoredRow } from "./kine-row.ts";
import type { BinaryRow } from "./postgres-copy.ts";
import type { TextRow } from "./postgres-link.ts";
import { decodeBytea, decodeName } from "./postgres-values.ts";
import type { RowPage } from "./sql-database.ts";

export function toLeaseChange([id, ttl, revoked, isNew]: TextRow): LeaseChange {
  if (revoked === "t") return { kind: "revoke", id: BigInt(id!) };
  return isNew === "t"
    ? { kind: "grant", id: BigInt(id!), ttlSeconds: Number(ttl) }
    : { kind: "renew", id: BigInt(id!) };
}

export function toSettings(rows: TextRow[]): Map<string, string> {
  return new Map(rows.map(([name, value]) => [name!, value ?? ""]));
}

export function toPage(raw: TextRow[], withValue: boolean): RowPage {
  const rows: StoredRow[] = [];
  for (const columns of raw) {
    const row = toStoredRow(toColumns(columns), withValue);
    if (row !== undefined) rows.push(row);
  }
  const last = raw.at(-1);
  return { rows, seen: raw.length, lastId: last === undefined ? undefined : Number(last[0]) };
}

function toColumns(row: TextRow): KineColumns {
  const value = row[10];
  return {
    id: Number(row[0]),
    name: decodeName(row[1] ?? ""),
    created: row[2] === "1",
    deleted: row[3] === "1",
    createRevision: Number(row[4] ?? 0),
    previousId: Number(row[5] ?? 0),
    leaseTtlSeconds: Number(row[6] ?? 0),
    version: Number(row[7] ?? 0),
    leaseId: row[8] === null ? 0n : BigInt(row[8]!),
    txnLast: Number(row[9] ?? 0),
    value: value === null || value === undefined ? null : decodeBytea(value),
  };
}

/** A copied row without its value, or undefined when it is only kine's housekeeping. */
export function toLoadedRow(row: BinaryRow): StoredRow | undefined {
  const columns: KineColumns = {
    id: row.integer(0),
    name: decodeName(row.text(1)),
    created: row.integer(2) === 1,
    deleted: row.integer(3) === 1,
    createRevision: row.integer(4),
    previousId: row.integer(5),
    leaseTtlSeconds: row.integer(6),
    version: row.integer(7),
    leaseId: row.bigint(8),
    txnLast: row.integer(9),
    value: null,
  };
  return toStoredRow(columns, false);
}

/** A copied value as clients see it. */
export function toValue(name: string, value: Uint8Array | undefined): Uint8Array {
  return value === undefined ? new Uint8Array(0) : clientValue(decodeName(name), value);
}

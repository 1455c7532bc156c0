import type { LeaseChange, StoredRow } from "../append-log.ts";
import { type KineColumns, toStoredRow } from "./kine-row.ts";
import type { Cell, CellRow } from "./mysql-link.ts";
import type { RowPage } from "./sql-database.ts";

export function toLeaseChange([id, ttl, revoked, isNew]: CellRow): LeaseChange {
  if (toNumber(revoked) === 1) return { kind: "revoke", id: toBigInt(id) };
  if (toNumber(isNew) === 1) return { kind: "grant", id: toBigInt(id), ttlSeconds: toNumber(ttl) };
  return { kind: "renew", id: toBigInt(id) };
}

export function toSettings(rows: CellRow[]): Map<string, string> {
  return new Map(rows.map(([name, value]) => [String(name), value === null ? "" : String(value)]));
}

export function toPage(raw: CellRow[], withValue: boolean): RowPage {
  const rows: StoredRow[] = [];
  for (const columns of raw) {
    const row = toRow(columns, withValue);
    if (row !== undefined) rows.push(row);
  }
  const last = raw.at(-1);
  return { rows, seen: raw.length, lastId: last === undefined ? undefined : toNumber(last[0]) };
}

/** The row for the engine, or undefined when it is only kine's housekeeping. */
export function toRow(columns: CellRow, withValue: boolean): StoredRow | undefined {
  return toStoredRow(toColumns(columns), withValue);
}

function toColumns(row: CellRow): KineColumns {
  return {
    id: toNumber(row[0]),
    name: toName(row[1]),
    created: toNumber(row[2]) === 1,
    deleted: toNumber(row[3]) === 1,
    createRevision: toNumber(row[4]),
    previousId: toNumber(row[5]),
    leaseTtlSeconds: toNumber(row[6]),
    version: toNumber(row[7]),
    leaseId: toBigInt(row[8]),
    txnLast: toNumber(row[9]),
    value: toBytes(row[10]),
  };
}

export function toName(cell: Cell | undefined): string {
  return Buffer.isBuffer(cell) ? cell.toString("latin1") : "";
}

export function toBytes(cell: Cell | undefined): Buffer | null {
  return Buffer.isBuffer(cell) ? cell : null;
}

export function toNumber(cell: Cell | undefined): number {
  if (typeof cell === "number") return cell;
  return cell === null || cell === undefined ? 0 : Number(String(cell));
}

export function toBigInt(cell: Cell | undefined): bigint {
  return cell === null || cell === undefined ? 0n : BigInt(typeof cell === "number" ? cell : String(cell));
}

import type { LogBatch, LogRow } from "./append-log.ts";
import { compactRow, nameOfKey, wrapCompactValue } from "./kine-names.ts";

/**
 * One batch on its way to the writer thread: a single buffer that is moved, not copied, because cloning an object per
 * row costs more than inserting it.
 *
 * Layout: `rows × columns` doubles, then the bytes of each row's name and value, one after another. Lease ids take two
 * doubles (high and low half).
 */
export interface PackedBatch {
  rowCount: number;
  buffer: ArrayBuffer;
  /** Small and rare: cloned as they are. */
  leases: LogBatch["leases"];
  settings: LogBatch["settings"];
  compactedRevision: number | undefined;
  purgeIds: number[];
}

const columns = 12;

export function packBatch(batch: LogBatch): PackedBatch {
  const { rows } = batch;
  let size = rows.length * columns * 8;
  const names = new Array<string>(rows.length);
  const values = new Array<Uint8Array | undefined>(rows.length);
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at]!;
    names[at] = nameOfKey(row.key);
    values[at] = storedValue(row);
    size += names[at]!.length + (values[at]?.length ?? 0);
  }
  const buffer = new ArrayBuffer(size);
  const numbers = new Float64Array(buffer, 0, rows.length * columns);
  const bytes = Buffer.from(buffer);
  let end = rows.length * columns * 8;
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at]!;
    const name = names[at]!;
    const value = values[at];
    const lease = BigInt.asUintN(64, row.leaseId);
    numbers.set(
      [
        row.id,
        row.created ? 1 : 0,
        row.deleted ? 1 : 0,
        row.createRevision,
        row.previousId,
        row.leaseTtlSeconds,
        row.version,
        row.txnLast,
        row.leaseId === 0n ? 0 : Number(lease >> 32n),
        row.leaseId === 0n ? 0 : Number(lease & 0xffff_ffffn),
        name.length,
        value === undefined ? -1 : value.length,
      ],
      at * columns,
    );
    end += bytes.write(name, end, "latin1");
    if (value !== undefined) {
      bytes.set(value, end);
      end += value.length;
    }
  }
  const { leases, settings, compactedRevision, purgeIds } = batch;
  return { rowCount: rows.length, buffer, leases, settings, compactedRevision, purgeIds };
}

/** Parameters of one insert, in the order of `insertSql` in the writer. */
export type InsertParameters = [
  id: number,
  name: Uint8Array,
  created: number,
  deleted: number,
  createRevision: number,
  previousId: number,
  leaseTtlSeconds: number,
  value: Uint8Array | null,
  version: number,
  leaseId: bigint | null,
  txnLast: number | null,
];

export function unpackRows(packed: PackedBatch, onRow: (parameters: InsertParameters) => void): void {
  const { buffer, rowCount } = packed;
  const numbers = new Float64Array(buffer, 0, rowCount * columns);
  let at = rowCount * columns * 8;
  for (let row = 0; row < rowCount; row++) {
    const column = row * columns;
    const nameLength = numbers[column + 10]!;
    const valueLength = numbers[column + 11]!;
    const name = new Uint8Array(buffer, at, nameLength);
    at += nameLength;
    const value = valueLength < 0 ? null : new Uint8Array(buffer, at, valueLength);
    if (valueLength > 0) at += valueLength;
    const high = numbers[column + 8]!;
    const low = numbers[column + 9]!;
    const txnLast = numbers[column + 7]!;
    onRow([
      numbers[column]!,
      name,
      numbers[column + 1]!,
      numbers[column + 2]!,
      numbers[column + 3]!,
      numbers[column + 4]!,
      numbers[column + 5]!,
      value,
      numbers[column + 6]!,
      high === 0 && low === 0 ? null : BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low)),
      txnLast === 0 ? null : txnLast,
    ]);
  }
}

function storedValue(row: LogRow): Uint8Array | undefined {
  if (row.key === compactRow && row.value !== undefined) return wrapCompactValue(row.version, row.value);
  return row.value;
}

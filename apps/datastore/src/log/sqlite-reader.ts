import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { Key } from "../engine/version.ts";
import type { StoredLease, StoredRow } from "./append-log.ts";
import { compactRow, isGapRow, keyOfName, unwrapCompactValue } from "./kine-names.ts";

const rowColumns =
  "id, name, created, deleted, create_revision, prev_revision, lease, version, CAST(lease_id AS TEXT), txn_last";

type RowTuple = [
  id: number,
  name: string,
  created: number | null,
  deleted: number | null,
  createRevision: number | null,
  previousId: number | null,
  lease: number | null,
  version: number | null,
  leaseId: string | null,
  txnLast: number | null,
  value?: Uint8Array | null,
];

/** The connection that reads, on the main thread, where a read of one row costs less than asking another thread would. */
export class SqliteReader {
  readonly #db: DatabaseSync;
  readonly #readValue: StatementSync;
  readonly #readNameBytes: StatementSync;

  constructor(path: string) {
    this.#db = new DatabaseSync(path);
    this.#db.exec("PRAGMA busy_timeout = 5000; PRAGMA query_only = ON; PRAGMA cache_size = -4096");
    this.#readValue = this.#db.prepare("SELECT value, name FROM kine WHERE id = ?");
    this.#readValue.setReturnArrays(true);
    this.#readNameBytes = this.#db.prepare("SELECT CAST(name AS BLOB) FROM kine WHERE id = ?");
    this.#readNameBytes.setReturnArrays(true);
  }

  close(): void {
    this.#db.close();
  }

  /** Every row in id order, without values; kine's housekeeping is left out. */
  allRows(onRow: (row: StoredRow) => void): void {
    this.#forEachRow(`SELECT ${rowColumns} FROM kine ORDER BY id`, [], onRow);
  }

  /** Rows above an id, with values. */
  rowsAfter(id: number): StoredRow[] {
    const rows: StoredRow[] = [];
    this.#forEachRow(`SELECT ${rowColumns}, value FROM kine WHERE id > ? ORDER BY id`, [id], (row) => rows.push(row));
    return rows;
  }

  leases(): StoredLease[] {
    const leases = this.#db.prepare("SELECT id, ttl FROM keelson_lease");
    leases.setReadBigInts(true);
    return (leases.all() as { id: bigint; ttl: bigint }[]).map(({ id, ttl }) => ({ id, ttlSeconds: Number(ttl) }));
  }

  /** -1 when never compacted. */
  compactedRevision(): number {
    const { revision } = this.#db
      .prepare("SELECT MAX(prev_revision) AS revision FROM kine WHERE name = ?")
      .get(compactRow) as { revision: number };
    return revision > 0 ? revision : -1;
  }

  /** Values in the order of the ids; undefined where the row is gone. */
  values(ids: readonly number[]): (Uint8Array | undefined)[] {
    const values = new Array<Uint8Array | undefined>(ids.length);
    for (let at = 0; at < ids.length; at++) {
      const row = this.#readValue.get(ids[at]!) as unknown as [Uint8Array | null, string] | undefined;
      if (row !== undefined) values[at] = storedValue(row[1], row[0]);
    }
    return values;
  }

  size(): { total: number; inUse: number } {
    const pragma = (name: string): number => this.#db.prepare(`PRAGMA ${name}`).get()![name] as number;
    const pageSize = pragma("page_size");
    const pages = pragma("page_count");
    return { total: pages * pageSize, inUse: (pages - pragma("freelist_count")) * pageSize };
  }

  #forEachRow(sql: string, parameters: number[], onRow: (row: StoredRow) => void): void {
    const statement = this.#db.prepare(sql);
    statement.setReturnArrays(true);
    for (const raw of statement.iterate(...parameters)) {
      const tuple = raw as unknown as RowTuple;
      const name = tuple[1];
      if (name === compactRow) continue;
      if (isGapRow(name, tuple[2] === 1, tuple[3] === 1, tuple[5] ?? 0)) continue;
      onRow(this.#storedRow(tuple));
    }
  }

  #storedRow(tuple: RowTuple): StoredRow {
    const id = tuple[0];
    const name = this.#nameBytes(id, tuple[1]);
    const value = tuple[10];
    return {
      id,
      key: keyOfName(name),
      created: tuple[2] === 1,
      deleted: tuple[3] === 1,
      createRevision: tuple[4] ?? 0,
      leaseTtlSeconds: tuple[6] ?? 0,
      leaseId: tuple[8] === null ? 0n : BigInt(tuple[8]),
      version: tuple[7] ?? 0,
      txnLast: tuple[9] ?? 0,
      ...(value === null || value === undefined ? {} : { value: storedValue(name, value) }),
    };
  }

  /** Text comes back decoded as UTF-8; a key is its bytes. */
  #nameBytes(id: number, name: string): Key {
    if (/^[\0-\x7f]*$/.test(name)) return name;
    const row = this.#readNameBytes.get(id) as unknown as [Uint8Array] | undefined;
    return row === undefined ? Buffer.from(name).toString("latin1") : Buffer.from(row[0]).toString("latin1");
  }
}

function storedValue(name: string, value: Uint8Array | null): Uint8Array {
  if (value === null) return new Uint8Array(0);
  return keyOfName(name) === compactRow ? unwrapCompactValue(value).value : value;
}

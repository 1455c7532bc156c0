import type { LogRow } from "../append-log.ts";
import { nameOfKey } from "../kine-names.ts";
import { storedValue } from "./kine-row.ts";

/**
 * SQL text in which each character is a byte: the connection's charset is `binary`, and text is sent as latin1. Quoting
 * bytes this way costs next to nothing for what is mostly text, where hexadecimal digits would double it.
 */
export function quoteBytes(bytes: Uint8Array): string {
  return quoteLatin1(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"));
}

/** The same for a string whose characters are bytes already, such as a key. */
export function quoteLatin1(text: string): string {
  return needsEscape.test(text) ? `'${text.replace(escaped, escapeOne)}'` : `'${text}'`;
}

// biome-ignore-start lint/suspicious/noControlCharactersInRegex: NUL is one of the characters that are escaped.
const needsEscape = /[\0'\\]/;
const escaped = /[\0'\\]/g;
// biome-ignore-end lint/suspicious/noControlCharactersInRegex: end of the list

function escapeOne(character: string): string {
  return character === "\0" ? "\\0" : `\\${character}`;
}

const insertInto =
  "INSERT INTO kine (id, name, created, deleted, create_revision, prev_revision, lease, value, version, lease_id, txn_last) VALUES ";

/** Inserts as few statements as the server's packet size allows. */
export function insertStatements(rows: readonly LogRow[], maxBytes: number): string[] {
  const statements: string[] = [];
  let tuples: string[] = [];
  let bytes = insertInto.length;
  for (const row of rows) {
    const tuple = toTuple(row);
    if (tuples.length > 0 && bytes + tuple.length > maxBytes) {
      statements.push(insertInto + tuples.join(","));
      tuples = [];
      bytes = insertInto.length;
    }
    tuples.push(tuple);
    bytes += tuple.length + 1;
  }
  if (tuples.length > 0) statements.push(insertInto + tuples.join(","));
  return statements;
}

function toTuple(row: LogRow): string {
  const value = storedValue(row);
  return (
    `(${row.id},${quoteLatin1(nameOfKey(row.key))},${row.created ? 1 : 0},${row.deleted ? 1 : 0},${row.createRevision},` +
    `${row.previousId},${row.leaseTtlSeconds},${value === undefined ? "NULL" : quoteBytes(value)},${row.version},` +
    `${row.leaseId === 0n ? "NULL" : row.leaseId},${row.txnLast === 0 ? "NULL" : row.txnLast})`
  );
}

/** Puts statements together into as few scripts as the packet size allows; the last one holds `last`. */
export function packScripts(statements: readonly string[], last: string, maxBytes: number): string[] {
  const scripts: string[] = [];
  let script = "";
  for (const statement of [...statements, last]) {
    if (script !== "" && script.length + statement.length > maxBytes) {
      scripts.push(script);
      script = "";
    }
    script += script === "" ? statement : `;${statement}`;
  }
  scripts.push(script);
  return scripts;
}

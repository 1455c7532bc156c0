import { KeelsonError } from "@keelson/service";

/** One row of `cred/passwd`. */
export interface PasswdEntry {
  password: string;
  name: string;
  uid: string;
  groups: readonly string[];
}

/** Reads `password,name,uid,"group,group"` rows (RFC 4180 quoting). Rows of fewer than three columns cannot log in. */
export function parsePasswd(text: string): PasswdEntry[] {
  return parseCsv(text)
    .filter((row) => row.length >= 3)
    .map(([password, name, uid, groups]) => ({
      password: password!,
      name: name!,
      uid: uid!,
      groups: (groups ?? "").split(",").filter((group) => group !== ""),
    }));
}

export function formatPasswd(entries: readonly PasswdEntry[]): string {
  return entries
    .map(({ password, name, uid, groups }) => `${[password, name, uid, groups.join(",")].map(quote).join(",")}\n`)
    .join("");
}

function quote(field: string): string {
  return /[",\r\n]|^\s/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
}

function parseCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  let at = 0;
  while (at < text.length) {
    let field = "";
    if (text[at] === '"') {
      at++;
      for (;;) {
        const end = text.indexOf('"', at);
        if (end < 0) throw new KeelsonError("passwd/invalid", "cred/passwd has a quoted field without an end");
        field += text.slice(at, end);
        at = end + 1;
        if (text[at] !== '"') break;
        field += '"';
        at++;
      }
    } else {
      const end = /[,\r\n]/.exec(text.slice(at))?.index;
      field = end === undefined ? text.slice(at) : text.slice(at, at + end);
      at += field.length;
    }
    row.push(field);
    if (text[at] === ",") {
      at++;
      if (at < text.length) continue;
      row.push("");
    }
    while (text[at] === "\r" || text[at] === "\n") at++;
    if (row.length > 1 || row[0] !== "") rows.push(row);
    row = [];
  }
  return rows;
}

import { KeelsonError } from "@keelson/service";
import { type DatabaseTlsFiles, hasTlsFiles } from "./tls-files.ts";

/** A MySQL or MariaDB endpoint: `mysql://` and a DSN of go-sql-driver, `user:password@tcp(host:port)/database?parameters`. */
export interface MysqlEndpoint {
  address: { host: string; port: number } | { socketPath: string };
  user: string;
  password: string;
  database: string;
  /** go-sql-driver's `tls` parameter: `preferred` falls back to an unencrypted connection. */
  tlsMode: "disable" | "preferred" | "skip-verify" | "verify";
  tls: DatabaseTlsFiles;
  connectTimeoutMs: number;
}

const defaultPort = 3306;
const defaultSocket = "/var/run/mysqld/mysqld.sock";
const defaultConnectTimeoutMs = 3_000;

/**
 * The DSN is not a URL: the password is taken as it stands, up to the last `@` before the address, and the database
 * begins after the last `/`. kine's defaults: user `root`, database `kubernetes`, the local socket, or 127.0.0.1 over TCP
 * when certificate files are given. Throws a KeelsonError.
 */
export function parseMysqlEndpoint(endpoint: string, files: DatabaseTlsFiles = {}): MysqlEndpoint {
  const dsn = endpoint.replace(/^(?:mysql|mariadb):\/\//, "");
  const slash = lastSlash(dsn);
  const address = slash === -1 ? dsn : dsn.slice(0, slash);
  const [path = "", query = ""] = splitOnce(slash === -1 ? "" : dsn.slice(slash + 1), "?");
  const at = address.lastIndexOf("@");
  const [user = "", password = ""] = at === -1 ? [] : splitOnce(address.slice(0, at), ":");
  const parameters = new URLSearchParams(query);
  return {
    address: parseAddress(address.slice(at + 1), files),
    user: user || "root",
    password,
    database: path === "" ? "kubernetes" : decodePath(path),
    tlsMode: parseTlsMode(parameters.get("tls"), files),
    tls: files,
    connectTimeoutMs: parseDuration(parameters.get("timeout")),
  };
}

/** The slash in front of the database: the last one before the parameters that is outside of `unix(/path)`. */
function lastSlash(dsn: string): number {
  const close = dsn.lastIndexOf(")");
  const question = dsn.indexOf("?", close + 1);
  const end = question === -1 ? dsn.length : question;
  const slash = dsn.lastIndexOf("/", end);
  return slash > close ? slash : -1;
}

function parseAddress(text: string, files: DatabaseTlsFiles): MysqlEndpoint["address"] {
  const match = /^([a-z0-9]*)(?:\((.*)\))?$/i.exec(text);
  const protocol = match?.[1] ?? "";
  if (protocol === "unix") return { socketPath: match?.[2] || defaultSocket };
  if (match !== null && (protocol === "tcp" || protocol === "tcp4" || protocol === "tcp6")) {
    return parseTcp(match[2] ?? "");
  }
  if (text === "") return hasTlsFiles(files) ? parseTcp("") : { socketPath: defaultSocket };
  // `user:password@host:port/db` is not a DSN of go-sql-driver, but what people try first.
  if (match === null || match[2] === undefined) return parseTcp(text);
  throw malformed("its protocol is not known; use tcp(host:port) or unix(/path)");
}

function parseTcp(text: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:()]*))(?::(\d*))?$/.exec(text);
  const port = Number(match?.[3] || defaultPort);
  if (match === null || !Number.isInteger(port) || port < 1 || port > 65_535) {
    // Without the text itself: when the `@` is forgotten, the password stands there.
    throw malformed("what follows the credentials is not host:port with a port from 1 to 65535");
  }
  return { host: match[1] ?? (match[2] || "127.0.0.1"), port };
}

function parseTlsMode(text: string | null, files: DatabaseTlsFiles): MysqlEndpoint["tlsMode"] {
  if (hasTlsFiles(files)) return files.skipVerify ? "skip-verify" : "verify";
  switch (text) {
    case null:
    case "":
    case "false":
      return "disable";
    case "true":
      return files.skipVerify ? "skip-verify" : "verify";
    case "skip-verify":
    case "preferred":
      return text;
    default:
      throw malformed(`tls=${text} is not one of true, false, skip-verify, preferred`);
  }
}

/** Go's notation for a duration, as far as a time-out needs it: `500ms`, `5s`, `1m`. */
function parseDuration(text: string | null): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m)$/.exec(text ?? "");
  if (match === null) return defaultConnectTimeoutMs;
  return Number(match[1]) * { ms: 1, s: 1_000, m: 60_000 }[match[2] as "ms" | "s" | "m"];
}

function decodePath(path: string): string {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}

function splitOnce(text: string, separator: string): [string, string] {
  const at = text.indexOf(separator);
  return at === -1 ? [text, ""] : [text.slice(0, at), text.slice(at + separator.length)];
}

/** Never names the endpoint itself, because that holds the password. */
function malformed(reason: string): KeelsonError {
  return new KeelsonError("datastore/endpoint", `the MySQL endpoint is malformed: ${reason}`, {
    hint: "write mysql://user:password@tcp(host:port)/database",
  });
}

import { KeelsonError } from "@keelson/service";
import { type DatabaseTlsFiles, hasTlsFiles } from "./tls-files.ts";

export type PostgresSslMode = "disable" | "prefer" | "require" | "verify-ca" | "verify-full";

/** A PostgreSQL endpoint as kine and K3s write it: `postgres://user:password@host:port/database?parameters`. */
export interface PostgresEndpoint {
  /** Tried in order until one is a primary; a host that starts with `/` is the folder of a unix socket. */
  hosts: { host: string; port: number }[];
  user: string;
  password: string;
  database: string;
  sslMode: PostgresSslMode;
  tls: DatabaseTlsFiles;
  connectTimeoutMs: number;
}

const defaultPort = 5432;
const defaultConnectTimeoutMs = 3_000;
const pattern = /^postgres(?:ql)?:\/\/(?:([^@/]*)@)?([^/?]*)(?:\/([^?]*))?(?:\?(.*))?$/;

/**
 * kine's defaults: user and password `postgres`, host `localhost`, database `kubernetes`; the database's name in lower
 * case. Certificate files mean `verify-full` unless the endpoint names another mode. Throws a KeelsonError.
 */
export function parsePostgresEndpoint(endpoint: string, files: DatabaseTlsFiles = {}): PostgresEndpoint {
  const match = pattern.exec(endpoint);
  if (match === null) throw malformed("it must look like postgres://user:password@host:port/database");
  const [, credentials = "", authority = "", path = "", query = ""] = match;
  const parameters = new URLSearchParams(query);
  const colon = credentials.indexOf(":");
  const user = decode(colon === -1 ? credentials : credentials.slice(0, colon));
  const password = colon === -1 ? "" : decode(credentials.slice(colon + 1));
  const tls: DatabaseTlsFiles = {
    ...files,
    ...pick("caFile", parameters.get("sslrootcert")),
    ...pick("certFile", parameters.get("sslcert")),
    ...pick("keyFile", parameters.get("sslkey")),
  };
  const anonymous = credentials === "";
  return {
    hosts: parseHosts(authority, parameters),
    user: parameters.get("user") ?? (anonymous ? "postgres" : user),
    password: parameters.get("password") ?? (anonymous ? "postgres" : password),
    database: (decode(path) || parameters.get("dbname") || "kubernetes").toLowerCase(),
    sslMode: parseSslMode(parameters.get("sslmode"), tls),
    tls,
    connectTimeoutMs: parseTimeout(parameters.get("connect_timeout")),
  };
}

function parseHosts(authority: string, parameters: URLSearchParams): PostgresEndpoint["hosts"] {
  const named = authority === "" ? (parameters.get("host") ?? "") : authority;
  const port = parameters.get("port") ?? String(defaultPort);
  return (named === "" ? "localhost" : named).split(",").map((entry) => {
    const text = decode(entry);
    if (text.startsWith("/")) return { host: text, port: parsePort(port) };
    const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(text);
    if (match === null) throw malformed(`"${text}" is not host:port`);
    return { host: match[1] ?? (match[2] || "localhost"), port: parsePort(match[3] || port) };
  });
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw malformed(`"${text}" is not a port`);
  return port;
}

function parseSslMode(text: string | null, tls: DatabaseTlsFiles): PostgresSslMode {
  switch (text) {
    case null:
    case "":
      return hasTlsFiles(tls) ? "verify-full" : "prefer";
    case "allow":
      return "prefer";
    case "disable":
    case "prefer":
    case "require":
    case "verify-ca":
    case "verify-full":
      return text;
    default:
      throw malformed(`sslmode "${text}" is not one of disable, prefer, require, verify-ca, verify-full`);
  }
}

function parseTimeout(text: string | null): number {
  const seconds = Number(text ?? 0);
  return Number.isFinite(seconds) && seconds > 0 ? seconds * 1_000 : defaultConnectTimeoutMs;
}

function pick<K extends string>(name: K, value: string | null): Partial<Record<K, string>> {
  return value === null ? {} : ({ [name]: value } as Record<K, string>);
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw malformed("a percent sign in it is not part of a percent-encoded character");
  }
}

/** Never names the endpoint itself, because that holds the password. */
function malformed(reason: string): KeelsonError {
  return new KeelsonError("datastore/endpoint", `the PostgreSQL endpoint is malformed: ${reason}`, {
    hint: "write postgres://user:password@host:port/database and percent-encode special characters",
  });
}

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
  /** Parameters that are the server's own (`search_path`, …): settings of every session. */
  session: Record<string, string>;
}

const defaultPort = 5432;
const defaultConnectTimeoutMs = 3_000;
/** Credentials end at the last `@`, as in Go: a password may hold some that are not encoded. */
const pattern = /^postgres(?:ql)?:\/\/(?:([^/?]*)@)?([^/?@]*)(?:\/([^?]*))?(?:\?(.*))?$/;
/** Parameters for the client's end of a connection; what pgx does not know either goes to the server. */
const clientParameters = new Set(
  [
    "host, port, user, password, dbname, database, passfile, connect_timeout, application_name, sslmode, sslcert, sslkey",
    "sslrootcert, sslpassword, sslsni, sslnegotiation, target_session_attrs, service, servicefile, krbspn, krbsrvname",
    "default_query_exec_mode, statement_cache_capacity, description_cache_capacity, channel_binding",
    "min_protocol_version, max_protocol_version",
  ].flatMap((line) => line.split(", ")),
);

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
    session: Object.fromEntries([...parameters].filter(([name]) => !clientParameters.has(name))),
  };
}

function parseHosts(authority: string, parameters: URLSearchParams): PostgresEndpoint["hosts"] {
  const named = authority === "" ? (parameters.get("host") ?? "") : authority;
  const port = parameters.get("port") ?? String(defaultPort);
  return (named === "" ? "localhost" : named).split(",").map((entry) => {
    const text = decode(entry);
    if (text.startsWith("/")) return { host: text, port: parsePort(port) };
    const match = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d*))?$/.exec(text);
    if (match === null) throw malformed(notAnAddress);
    return { host: match[1] ?? (match[2] || "localhost"), port: parsePort(match[3] || port) };
  });
}

/** Without the text itself: where a password holds a `/` or `?`, a part of it stands there. */
const notAnAddress = "what follows the credentials is not host:port with a port from 1 to 65535";

function parsePort(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw malformed(notAnAddress);
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

import { readFileSync } from "node:fs";
import { defineOptions, KeelsonError, type OptionValues } from "@keelson/service";
import type { DatastoreConfig } from "./datastore.ts";
import { defaultCacheBytes } from "./engine/value-cache.ts";
import type { ListenOptions } from "./server/listener.ts";

/** Flags of `keelson datastore`. Names are kine's where the meaning is kine's. */
export const datastoreOptions = defineOptions({
  endpoint: {
    type: "string",
    default: "sqlite://./db/state.db",
    env: ["KEELSON_DATASTORE_ENDPOINT", "KINE_ENDPOINT"],
    placeholder: "url",
    secret: true,
    help: "Database: sqlite://path, postgres://user:pw@host/db, mysql://user:pw@tcp(host:port)/db, or http(s)://host:2379,... for an etcd",
  },
  "listen-address": {
    type: "list",
    default: ["http://127.0.0.1:2379"],
    env: ["KEELSON_LISTEN_ADDRESS", "KINE_LISTEN_ADDRESS"],
    placeholder: "url",
    help: "Where to serve etcd's API: http://host:port, https://host:port, :port for all interfaces, or unix:///path (repeatable)",
  },
  "advertise-client-url": {
    type: "list",
    env: "KEELSON_ADVERTISE_CLIENT_URL",
    placeholder: "url",
    help: "URLs that clients on other machines reach this server by (default: the listen addresses, all interfaces as the first of this host)",
  },
  "server-cert-file": {
    type: "string",
    env: ["KEELSON_SERVER_CERT_FILE", "KINE_SERVER_CERT_FILE"],
    placeholder: "file",
    help: "Certificate for https:// listen addresses; served anew when the file changes",
  },
  "server-key-file": {
    type: "string",
    env: ["KEELSON_SERVER_KEY_FILE", "KINE_SERVER_KEY_FILE"],
    placeholder: "file",
    help: "Key of the certificate",
  },
  "trusted-ca-file": {
    type: "string",
    env: ["KEELSON_TRUSTED_CA_FILE", "KINE_TRUSTED_CA_FILE"],
    placeholder: "file",
    help: "Authorities of client certificates; when given, clients must have one",
  },
  "ca-file": {
    type: "string",
    env: ["KEELSON_DATASTORE_CAFILE", "KINE_CA_FILE"],
    placeholder: "file",
    help: "Authorities of the database's certificate",
  },
  "cert-file": {
    type: "string",
    env: ["KEELSON_DATASTORE_CERTFILE", "KINE_CERT_FILE"],
    placeholder: "file",
    help: "Client certificate for the database",
  },
  "key-file": {
    type: "string",
    env: ["KEELSON_DATASTORE_KEYFILE", "KINE_KEY_FILE"],
    placeholder: "file",
    help: "Key of the client certificate",
  },
  "skip-verify": {
    type: "boolean",
    env: "KINE_SKIP_VERIFY",
    help: "Trust any certificate of the database",
  },
  "slow-sql-threshold": {
    type: "duration",
    default: "1s",
    env: ["KEELSON_SLOW_SQL_THRESHOLD", "KINE_SLOW_SQL_THRESHOLD"],
    help: "Log database statements that take longer; 0 turns that off",
  },
  "cache-size": {
    type: "number",
    default: defaultCacheBytes >> 20,
    env: "KEELSON_CACHE_SIZE",
    placeholder: "MiB",
    help: "Memory for values",
  },
  "compact-retention": {
    type: "duration",
    default: "5m",
    env: "KEELSON_COMPACT_RETENTION",
    help: "How long history is kept; 0 leaves compaction to clients",
  },
  "compact-min-retain": {
    type: "number",
    default: 1_000,
    env: ["KEELSON_COMPACT_MIN_RETAIN", "KINE_COMPACT_MIN_RETAIN"],
    help: "Revisions that are always kept",
  },
  "compact-max-retain": {
    type: "number",
    default: 250_000,
    env: "KEELSON_COMPACT_MAX_RETAIN",
    help: "Revisions beyond which history is compacted however young it is",
  },
  "watch-progress-notify-interval": {
    type: "duration",
    default: "5s",
    env: ["KEELSON_WATCH_PROGRESS_NOTIFY_INTERVAL", "KINE_WATCH_PROGRESS_NOTIFY_INTERVAL"],
    help: "Period of progress notifications to watches that ask for them",
  },
});

/** Reads the files that the options name. */
export function datastoreConfig(values: OptionValues<typeof datastoreOptions>): DatastoreConfig {
  const tls = readTls(values);
  return {
    endpoint: values.endpoint,
    databaseTls: {
      ...(values["ca-file"] === undefined ? {} : { caFile: values["ca-file"] }),
      ...(values["cert-file"] === undefined ? {} : { certFile: values["cert-file"] }),
      ...(values["key-file"] === undefined ? {} : { keyFile: values["key-file"] }),
      skipVerify: values["skip-verify"],
    },
    slowSqlMs: values["slow-sql-threshold"],
    listen: values["listen-address"].map((url) => ({
      url: withScheme(url, tls !== undefined),
      ...tls,
    })),
    ...(values["advertise-client-url"].length > 0 ? { advertiseClientUrls: values["advertise-client-url"] } : {}),
    cacheBytes: cacheBytes(values["cache-size"]),
    compaction: {
      retentionMs: values["compact-retention"],
      minRetain: values["compact-min-retain"],
      maxRetain: values["compact-max-retain"],
    },
    progressNotifyIntervalMs: values["watch-progress-notify-interval"],
  };
}

function cacheBytes(mebibytes: number): number {
  if (Number.isInteger(mebibytes) && mebibytes > 0) return mebibytes * 2 ** 20;
  throw new KeelsonError("option/invalid", `--cache-size: ${mebibytes} is not a whole number of MiB above 0`, {
    hint: "give the MiB of memory for values, such as 64",
  });
}

/** kine takes a bare `host:port` too, and serves TLS there when it has a certificate. */
function withScheme(address: string, secure: boolean): string {
  if (/^(https?|unix):\/\//.test(address)) return address;
  return `${secure ? "https" : "http"}://${address.replace(/^tcp:\/\//, "")}`;
}

function readTls(values: OptionValues<typeof datastoreOptions>): Pick<ListenOptions, "tls" | "tlsFiles"> | undefined {
  const { "server-cert-file": cert, "server-key-file": key, "trusted-ca-file": clientCa } = values;
  if (cert === undefined && key === undefined) {
    if (clientCa === undefined) return undefined;
    throw new KeelsonError("option/invalid", "--trusted-ca-file asks for client certificates, which needs TLS", {
      hint: "give --server-cert-file and --server-key-file as well, or leave it out to serve without TLS",
    });
  }
  if (cert === undefined || key === undefined) {
    throw new KeelsonError("option/invalid", "--server-cert-file and --server-key-file belong together", {
      hint: "give both, or neither to serve without TLS",
    });
  }
  return {
    tls: {
      cert: readPem("server-cert-file", cert),
      key: readPem("server-key-file", key),
      ...(clientCa === undefined ? {} : { clientCa: readPem("trusted-ca-file", clientCa) }),
    },
    tlsFiles: { cert, key, ...(clientCa === undefined ? {} : { clientCa }) },
  };
}

function readPem(option: string, path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    throw new KeelsonError("option/unreadable", `--${option}: cannot read ${path}`, {
      hint: "check the path and its permissions",
      cause: error,
    });
  }
}

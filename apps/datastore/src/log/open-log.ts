import { KeelsonError } from "@keelson/service";
import type { AppendLog } from "./append-log.ts";
import { createMysqlLog, createPostgresLog, type SqlLogOptions } from "./sql/open-sql-log.ts";
import { SqlObserver } from "./sql/sql-observer.ts";
import { SqliteLog } from "./sqlite.ts";

export type LogOptions = SqlLogOptions;

/** kine's default when no endpoint is given. */
const defaultSqlitePath = "./db/state.db";

/**
 * The log that an endpoint names. Schemes are kine's; what follows the scheme of SQLite is a path. Throws a KeelsonError,
 * also for what may be a misspelt scheme: as a path it would make an empty database.
 */
export function openLog(endpoint: string, options: LogOptions): AppendLog {
  const { logger } = options;
  const { scheme, rest } = splitEndpoint(endpoint);
  switch (scheme) {
    case "sqlite":
      return new SqliteLog({
        path: sqlitePath(rest),
        log: logger,
        observer: new SqlObserver({ log: logger, registry: options.registry, slowQueryMs: options.slowQueryMs }),
      });
    case "postgres":
    case "postgresql":
      return createPostgresLog(endpoint, options);
    case "mysql":
    case "mariadb":
      return createMysqlLog(endpoint, options);
    default:
      throw unusable(`has the unknown scheme ${scheme}://`);
  }
}

/** `sqlite` and nothing at all mean kine's default; a path without a scheme is SQLite's. */
function splitEndpoint(endpoint: string): { scheme: string; rest: string } {
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(endpoint);
  if (match !== null) return { scheme: match[1]!, rest: match[2]! };
  if (endpoint === "sqlite" || endpoint === "") return { scheme: "sqlite", rest: "" };
  // Not the text itself, which may hold a password.
  if (/^(?!file:)[a-z][a-z0-9+-]*:/i.test(endpoint)) throw unusable("has a colon where :// belongs");
  if (!/[/.]/.test(endpoint)) throw unusable("is a single word, neither scheme://… nor a path");
  return { scheme: "sqlite", rest: endpoint };
}

function unusable(what: string): KeelsonError {
  return new KeelsonError("datastore/endpoint", `the datastore endpoint ${what}`, {
    hint: "use sqlite://, postgres:// or mysql:// in lower case, or http(s):// for an etcd",
  });
}

/** Parameters after `?` are settings of kine's SQLite library; ours are fixed, so they are dropped. */
function sqlitePath(rest: string): string {
  const path = rest.replace(/^file:/, "").split("?")[0]!;
  return path === "" ? defaultSqlitePath : path;
}

import { KeelsonError } from "@keelson/service";
import type { AppendLog } from "./append-log.ts";
import { createMysqlLog, createPostgresLog, type SqlLogOptions } from "./sql/open-sql-log.ts";
import { SqlObserver } from "./sql/sql-observer.ts";
import { SqliteLog } from "./sqlite.ts";

export type LogOptions = SqlLogOptions;

/** kine's default when no endpoint is given. */
const defaultSqlitePath = "./db/state.db";

/** The log that an endpoint names. Schemes are kine's; what follows the scheme of SQLite is a path. */
export function openLog(endpoint: string, options: LogOptions): AppendLog {
  const { logger } = options;
  const [, scheme = "sqlite", rest = ""] = /^(?:([a-z][a-z0-9+.-]*):\/\/)?(.*)$/s.exec(endpoint) ?? [];
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
      throw new KeelsonError("datastore/endpoint", `the datastore endpoint has the unknown scheme ${scheme}://`, {
        hint: "use sqlite://, postgres://, mysql://, or http(s):// for an etcd",
      });
  }
}

/** Parameters after `?` are settings of kine's SQLite library; ours are fixed, so they are dropped. */
function sqlitePath(rest: string): string {
  const path = rest.replace(/^file:/, "").split("?")[0]!;
  return path === "" ? defaultSqlitePath : path;
}

import type { Clock, Logger, Registry } from "@keelson/service";
import type { AppendLog } from "../append-log.ts";
import { parseMysqlEndpoint } from "./mysql-endpoint.ts";
import { parsePostgresEndpoint } from "./postgres-endpoint.ts";
import { SharedLog } from "./shared-log.ts";
import type { DatabaseTlsFiles } from "./tls-files.ts";

export interface SqlLogOptions {
  logger: Logger;
  clock: Clock;
  registry: Registry;
  /** Certificate files for the connection to the database. */
  tls?: DatabaseTlsFiles;
  /** Statements that take longer are logged, in milliseconds (1000); 0 turns that off. */
  slowQueryMs?: number | undefined;
}

/** A log on a PostgreSQL server. Throws a KeelsonError when the endpoint is malformed; connects in `open`. */
export function createPostgresLog(endpoint: string, options: SqlLogOptions): AppendLog {
  const parsed = parsePostgresEndpoint(endpoint, options.tls);
  const { logger: log, clock, registry, slowQueryMs } = options;
  return new SharedLog({
    kind: "postgres",
    log,
    clock,
    database: async () => {
      const { PostgresDatabase } = await import("../postgres.ts");
      return new PostgresDatabase({ endpoint: parsed, log, registry, slowQueryMs });
    },
  });
}

/** A log on a MySQL or MariaDB server. Throws a KeelsonError when the endpoint is malformed; connects in `open`. */
export function createMysqlLog(endpoint: string, options: SqlLogOptions): AppendLog {
  const parsed = parseMysqlEndpoint(endpoint, options.tls);
  const { logger: log, clock, registry, slowQueryMs } = options;
  return new SharedLog({
    kind: "mysql",
    log,
    clock,
    database: async () => {
      const { MysqlDatabase } = await import("../mysql.ts");
      return new MysqlDatabase({ endpoint: parsed, log, registry, slowQueryMs });
    },
  });
}

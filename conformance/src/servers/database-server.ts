import type { ServerProcess } from "./server-process.ts";

export interface DatabaseServerOptions {
  /** Memory for the database's own cache; by default little, as tests need. */
  bufferMiB?: number;
}

/** A database server that adapters store in. */
export interface DatabaseServer {
  kind: "postgres" | "mariadb";
  port: number;
  process: ServerProcess;
  /** The endpoint string of a database, as `--endpoint` takes it. The port differs when a proxy stands in front. */
  endpoint(database: string, port?: number): string;
  /** Ends the server without letting it write anything back. */
  crash(): Promise<void>;
  /** Stops the server and removes its data. */
  close(): Promise<void>;
}

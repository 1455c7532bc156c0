import { join } from "node:path";
import type { DatastoreConfig } from "@keelson/datastore";
import { type DataDirectory, makeDataDirectory } from "./data-directory.ts";
import type { DatabaseServer, DatabaseServerOptions } from "./database-server.ts";
import { startEtcd } from "./etcd.ts";
import { startMariadb } from "./mariadb.ts";
import { startPostgres } from "./postgres.ts";
import { freePort, ServerProcess } from "./server-process.ts";

/** The SQL backends of the adapter. */
export const backends = ["sqlite", "postgres", "mariadb"] as const;
export type Backend = (typeof backends)[number];

/** An adapter in its own process. */
export interface AdapterServer {
  url: string;
  process: ServerProcess;
}

/** Starts an adapter on a free port; the port stays the same over restarts of the process. */
export async function startAdapter(
  endpoint: string,
  config: Omit<DatastoreConfig, "endpoint" | "listen"> = {},
): Promise<AdapterServer> {
  const url = `http://127.0.0.1:${await freePort()}`;
  const server = new ServerProcess({
    name: "datastore",
    file: process.execPath,
    args: [join(import.meta.dirname, "adapter-process.ts"), JSON.stringify({ ...config, endpoint, listen: [{ url }] })],
    ready: (output) => output.includes("listening on "),
  });
  await server.start();
  return { url, process: server };
}

/** Where adapters store: a database server or a folder, with as many fresh stores in it as one asks for. */
export interface BackendServer {
  backend: Backend;
  /** Undefined for SQLite. */
  database: DatabaseServer | undefined;
  /** The endpoint of a store that nobody has used yet. */
  freshEndpoint(): string;
  close(): Promise<void>;
}

export async function startBackend(backend: Backend, options: DatabaseServerOptions = {}): Promise<BackendServer> {
  let stores = 0;
  if (backend === "sqlite") {
    const directory: DataDirectory = await makeDataDirectory("sqlite");
    return {
      backend,
      database: undefined,
      freshEndpoint: () => `sqlite://${join(directory.path, `state-${stores++}.db`)}`,
      close: () => directory.remove(),
    };
  }
  const database = await (backend === "postgres" ? startPostgres(options) : startMariadb(options));
  return {
    backend,
    database,
    freshEndpoint: () => database.endpoint(`store_${stores++}`),
    close: () => database.close(),
  };
}

/** A server of etcd's API, whichever it is. */
export interface ApiServer {
  url: string;
  close(): Promise<void>;
}

/** The two that a client's behaviour is compared on, by name: Debian's etcd, and the adapter on a SQLite file of its own. */
export const comparedServers: readonly [name: string, start: () => Promise<ApiServer>][] = [
  ["etcd", startEtcd],
  ["the adapter", startSqliteAdapter],
];

async function startSqliteAdapter(): Promise<ApiServer> {
  const store = await startBackend("sqlite");
  const adapter = await startAdapter(store.freshEndpoint());
  return {
    url: adapter.url,
    close: async () => {
      await adapter.process.stop();
      await store.close();
    },
  };
}

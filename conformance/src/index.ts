/** What other projects' tests use: programs of the host, and servers on free ports with their data in temporary folders. */
export { findBinary, type HostBinary, lacks, requireAll, requireBinary } from "./host-binaries.ts";
export {
  type AdapterServer,
  type ApiServer,
  type Backend,
  type BackendServer,
  backends,
  comparedServers,
  startAdapter,
  startBackend,
} from "./servers/adapter.ts";
export { makeDataDirectory } from "./servers/data-directory.ts";
export type { DatabaseServer } from "./servers/database-server.ts";
export { type EtcdServer, startEtcd } from "./servers/etcd.ts";
export { startMariadb } from "./servers/mariadb.ts";
export { startPostgres } from "./servers/postgres.ts";
export { freePort, freePorts, ServerProcess } from "./servers/server-process.ts";
export { TcpProxy } from "./servers/tcp-proxy.ts";

import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { requireBinary } from "../host-binaries.ts";
import { makeDataDirectory } from "./data-directory.ts";
import type { DatabaseServer, DatabaseServerOptions } from "./database-server.ts";
import { freePort, ServerProcess } from "./server-process.ts";

const run = promisify(execFile);

/** A PostgreSQL of the host on a free port: full durability, small buffers unless told, no password. */
export async function startPostgres({ bufferMiB = 32 }: DatabaseServerOptions = {}): Promise<DatabaseServer> {
  const directory = await makeDataDirectory("postgres", "postgres");
  const data = join(directory.path, "data");
  const port = await freePort();
  const as = directory.user === undefined ? {} : { uid: directory.user.uid, gid: directory.user.gid };
  await run(
    requireBinary("initdb"),
    ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
    { ...as, cwd: directory.path },
  );
  const settings = {
    port,
    listen_addresses: "127.0.0.1",
    unix_socket_directories: directory.path,
    shared_buffers: `${bufferMiB}MB`,
    max_connections: 100,
    logging_collector: "off",
  };
  const server = new ServerProcess({
    name: "postgres",
    file: requireBinary("postgres"),
    args: ["-D", data, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
    user: directory.user,
    ready: (output) => output.includes("database system is ready to accept connections"),
    // Fast shutdown: SIGTERM would wait for the clients to leave.
    stopSignal: "SIGINT",
  });
  await server.start();
  return {
    kind: "postgres",
    port,
    process: server,
    endpoint: (database, atPort = port) => `postgres://postgres@127.0.0.1:${atPort}/${database}?sslmode=disable`,
    // Immediate shutdown ends every backend without a checkpoint, so that the next start recovers from the log; SIGKILL
    // would leave backends behind that keep the next start from taking over.
    crash: () => server.kill("SIGQUIT"),
    close: async () => {
      await server.stop();
      await directory.remove();
    },
  };
}

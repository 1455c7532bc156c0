import { execFile } from "node:child_process";
import { chown, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { requireBinary } from "../host-binaries.ts";
import { makeDataDirectory } from "./data-directory.ts";
import type { DatabaseServer, DatabaseServerOptions } from "./database-server.ts";
import { freePort, ServerProcess } from "./server-process.ts";

const run = promisify(execFile);

/** A MariaDB of the host on a free port: full durability, small buffers unless told, root without a password. */
export async function startMariadb({ bufferMiB = 64 }: DatabaseServerOptions = {}): Promise<DatabaseServer> {
  const directory = await makeDataDirectory("mariadb", "mysql");
  const data = join(directory.path, "data");
  const temporary = join(directory.path, "tmp");
  const port = await freePort();
  const { user } = directory;
  for (const path of [data, temporary]) {
    await mkdir(path);
    if (user !== undefined) await chown(path, user.uid, user.gid);
  }
  const redoLogMiB = Math.max(16, bufferMiB / 8);
  const as = user === undefined ? {} : { uid: user.uid, gid: user.gid };
  await run(
    requireBinary("mariadb-install-db"),
    [
      "--no-defaults",
      `--datadir=${data}`,
      `--tmpdir=${temporary}`,
      "--auth-root-authentication-method=normal",
      "--skip-test-db",
      `--innodb-log-file-size=${redoLogMiB}M`,
    ],
    { ...as, cwd: directory.path },
  );
  const server = new ServerProcess({
    name: "mariadbd",
    file: requireBinary("mariadbd"),
    args: [
      "--no-defaults",
      `--datadir=${data}`,
      `--tmpdir=${temporary}`,
      `--socket=${join(directory.path, "mariadb.sock")}`,
      `--pid-file=${join(directory.path, "mariadb.pid")}`,
      `--port=${port}`,
      "--bind-address=127.0.0.1",
      `--innodb-buffer-pool-size=${bufferMiB}M`,
      `--innodb-log-file-size=${redoLogMiB}M`,
      "--innodb-flush-log-at-trx-commit=1",
      "--skip-name-resolve",
    ],
    user,
    ready: (output) => output.includes("ready for connections"),
  });
  await server.start();
  return {
    kind: "mariadb",
    port,
    process: server,
    endpoint: (database, atPort = port) => `mysql://root@tcp(127.0.0.1:${atPort})/${database}`,
    crash: () => server.kill("SIGKILL"),
    close: async () => {
      await server.stop();
      await directory.remove();
    },
  };
}

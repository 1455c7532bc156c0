import { execFile } from "node:child_process";
import { appendFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { makeDataDirectory, requireBinary, ServerProcess } from "@keelson/conformance";
import type { HostNetwork } from "./host-network.ts";

const run = promisify(execFile);
const port = 5432;

/** A PostgreSQL on a host of its own, open to the other hosts. */
export interface HostDatabase {
  endpoint: string;
  stop(): Promise<void>;
}

export async function startHostDatabase(network: HostNetwork, number: number): Promise<HostDatabase> {
  const host = "database";
  const address = await network.addHost(host, number);
  const directory = await makeDataDirectory("host-postgres", "postgres");
  const { uid, gid } = directory.user!;
  const data = join(directory.path, "data");
  const initdb = ["-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"];
  await run(requireBinary("initdb"), initdb, { uid, gid, cwd: directory.path });
  await appendFile(join(data, "pg_hba.conf"), "host all all 10.214.77.0/24 trust\n");
  const settings = [
    "listen_addresses=*",
    `port=${port}`,
    `unix_socket_directories=${directory.path}`,
    "max_connections=100",
  ];
  // setpriv becomes the program, so that the process that we know is PostgreSQL itself.
  const identity = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
  const server = ["-D", data, ...settings.flatMap((setting) => ["-c", setting])];
  const process = new ServerProcess({
    name: "postgres",
    ...network.inside(host, "setpriv", [...identity, requireBinary("postgres"), ...server]),
    ready: (output) => output.includes("database system is ready to accept connections"),
    stopSignal: "SIGINT",
  });
  await process.start();
  return {
    endpoint: `postgres://postgres@${address}:${port}/kubernetes?sslmode=disable`,
    stop: async () => {
      await process.stop();
      await directory.remove();
    },
  };
}

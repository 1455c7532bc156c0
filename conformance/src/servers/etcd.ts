import { join } from "node:path";
import { requireBinary } from "../host-binaries.ts";
import { makeDataDirectory } from "./data-directory.ts";
import { accepts, freePorts, ServerProcess } from "./server-process.ts";

/** A single-member etcd of the host on free ports. */
export interface EtcdServer {
  url: string;
  process: ServerProcess;
  dataDirectory: string;
  close(): Promise<void>;
}

/** `args` come after the usual ones and win; with other client URLs goes the port that is to be waited for. */
export async function startEtcd(args: readonly string[] = [], waitForPort?: number): Promise<EtcdServer> {
  const directory = await makeDataDirectory("etcd");
  const [clientPort, peerPort] = (await freePorts(2)) as [number, number];
  const url = `http://127.0.0.1:${clientPort}`;
  const peer = `http://127.0.0.1:${peerPort}`;
  const dataDirectory = join(directory.path, "data");
  const server = new ServerProcess({
    name: "etcd",
    file: requireBinary("etcd"),
    args: [
      "--name=reference",
      `--data-dir=${dataDirectory}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peer}`,
      `--initial-advertise-peer-urls=${peer}`,
      `--initial-cluster=reference=${peer}`,
      ...args,
    ],
    ready: async (output) =>
      waitForPort === undefined
        ? (await accepts(clientPort)) && (await isHealthy(url))
        : (await accepts(waitForPort)) && output.includes("ready to serve client requests"),
  });
  await server.start();
  return {
    url,
    process: server,
    dataDirectory,
    close: async () => {
      await server.stop();
      await directory.remove();
    },
  };
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`)).ok;
  } catch {
    return false; // not listening yet
  }
}

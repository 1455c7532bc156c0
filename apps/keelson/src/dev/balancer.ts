import { connect, createServer, type Socket } from "node:net";
import { KeelsonError } from "@keelson/service";
import { describeSystemError } from "../cli/report-error.ts";

const dialTimeoutMs = 1_000;

/**
 * The fixed registration address of a local cluster: a plain L4 balancer, round robin over the servers that answer.
 * It stands in for the HAProxy, VIP or DNS name that a real cluster has.
 */
export async function startBalancer(address: string, targets: readonly string[]): Promise<{ stop(): Promise<void> }> {
  const sockets = new Set<Socket>();
  let turn = 0;
  const server = createServer({ allowHalfOpen: true }, (client) => {
    sockets.add(client);
    client.on("close", () => sockets.delete(client));
    client.on("error", () => client.destroy());
    void relay(client, targets, turn++);
  });
  const [host, port] = splitAddress(address);
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error) =>
      reject(new KeelsonError("dev/balancer", describeSystemError(error) ?? error.message, { cause: error })),
    );
    server.listen(port, host, resolve);
  });
  return {
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
}

async function relay(client: Socket, targets: readonly string[], turn: number): Promise<void> {
  for (let attempt = 0; attempt < targets.length; attempt++) {
    const upstream = await dial(targets[(turn + attempt) % targets.length]!);
    if (upstream === undefined) continue;
    if (client.destroyed) return void upstream.destroy();
    upstream.on("error", () => client.destroy());
    upstream.on("close", () => client.destroy());
    client.on("close", () => upstream.destroy());
    client.pipe(upstream).pipe(client);
    return;
  }
  client.destroy();
}

function dial(target: string): Promise<Socket | undefined> {
  const [host, port] = splitAddress(target);
  return new Promise((resolve) => {
    const socket = connect({ host, port, allowHalfOpen: true, timeout: dialTimeoutMs });
    const failed = (): void => {
      socket.destroy();
      resolve(undefined);
    };
    socket.once("error", failed);
    socket.once("timeout", failed);
    socket.once("connect", () => {
      socket.setTimeout(0);
      socket.off("error", failed);
      resolve(socket);
    });
  });
}

function splitAddress(address: string): [string, number] {
  const colon = address.lastIndexOf(":");
  return [address.slice(0, colon), Number(address.slice(colon + 1))];
}

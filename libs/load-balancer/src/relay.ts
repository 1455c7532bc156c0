import type { Socket } from "node:net";
import type { ServerConnection } from "./server-connection.ts";

/** Bytes that may wait for a slow reader before its sender is paused. */
const queueLimitBytes = 256 * 1024;

/**
 * Relays bytes between a client and a server, both directions on their own: back-pressure from the slower reader, and the
 * end of one direction leaves the other open. Calls `done` once, when both sockets are closed.
 */
export function relay(client: Socket, connection: ServerConnection, done: () => void): void {
  const server = connection.socket;
  let open = 2;
  const onClose =
    (socket: Socket, peer: Socket) =>
    (hadError: boolean): void => {
      // A broken direction cannot be repaired: the other side must learn of it. After two regular ends the other side may
      // still have to take what waits for it.
      if (hadError || !socket.readableEnded || !socket.writableFinished) peer.destroy();
      if (--open === 0) done();
    };
  client.once("close", onClose(client, server));
  server.once("close", onClose(server, client));
  client.on("error", () => {}); // the close event that follows says all there is to say
  server.on("error", () => {});

  connection.deliverTo((bytes) => {
    client.write(bytes);
    const waiting = client.writableLength;
    if (waiting === 0) return "written";
    return waiting < queueLimitBytes ? "queued" : "full";
  });
  client.on("drain", () => server.resume());
  server.once("end", () => client.end());

  client.on("data", (bytes: Buffer) => {
    server.write(bytes);
    if (server.writableLength >= queueLimitBytes) client.pause();
  });
  server.on("drain", () => client.resume());
  client.once("end", () => server.end());
  client.resume();
  server.resume();
}

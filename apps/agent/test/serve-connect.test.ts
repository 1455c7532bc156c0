import { createHash, randomBytes } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, Socket } from "node:net";
import { allCapabilities, TunnelSession, type TunnelStream } from "@keelson/protocol/tunnel";
import { systemClock } from "@keelson/service";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { serveConnect } from "../src/tunnel/serve-connect.ts";

const pieceBytes = 8 * 1024;

let target: Server;
let server: TunnelSession;
let agent: TunnelSession;
/** The agent's ends: its stream, and its connection to the target. */
let served: TunnelStream;
let dialled: Socket;

/** Every TCP connection that this process opens; the last one to the target is the agent's. */
const onDial = (message: unknown): void => {
  const { socket } = message as { socket: Socket };
  socket.once("connect", () => {
    if (socket.remotePort === (target.address() as AddressInfo).port) dialled = socket;
  });
};

async function listen(listener: Server): Promise<number> {
  await new Promise<void>((resolve) => listener.listen(0, "127.0.0.1", resolve));
  return (listener.address() as AddressInfo).port;
}

/** A tunnel whose agent serves what it is asked for; the target is what it takes for its kubelet. */
async function openTunnel(): Promise<TunnelStream> {
  const port = await listen(target);
  const wire = createServer();
  const transport = new Socket().connect(await listen(wire), "127.0.0.1");
  const [accepted] = (await once(wire, "connection")) as [Socket];
  wire.close();
  const common = { capabilities: allCapabilities, clock: systemClock };
  const policy = {
    kubeletPort: () => port,
    kubeletHost: () => undefined,
    allowed: () => undefined,
    clock: systemClock,
  };
  server = new TunnelSession({ ...common, role: "server", transport: accepted, sessionName: "node/1" });
  agent = new TunnelSession({
    ...common,
    role: "client",
    transport,
    sessionName: "client/0",
    onConnect(stream, connect) {
      served = stream;
      serveConnect(agent, stream, connect, policy);
    },
  });
  return server.open("tcp", `127.0.0.1:${port}`);
}

beforeEach(() => subscribe("net.client.socket", onDial));

afterEach(() => {
  unsubscribe("net.client.socket", onDial);
  server.close("done");
  agent.close("done");
  target.close();
});

test("an upload arrives whole at a target that answered first and reads slowly", async () => {
  const reads = Promise.withResolvers<void>();
  const received = createHash("sha256");
  target = createServer({ allowHalfOpen: true }, (socket) => {
    socket.end("answered");
    void reads.promise.then(() => socket.on("data", (piece: Buffer) => received.update(piece)));
  });
  const [connection, stream] = await Promise.all([once(target, "connection") as Promise<[Socket]>, openTunnel()]);
  stream.resume();
  await once(stream, "end");

  // Until the kernel takes no more and a piece waits in the agent.
  const sent = createHash("sha256");
  for (let bytes = 0, kept = 0; kept < 3; ) {
    const piece = randomBytes(pieceBytes);
    sent.update(piece);
    stream.write(piece);
    bytes += pieceBytes;
    await vi.waitUntil(() => dialled.bytesWritten >= bytes, { interval: 0 });
    kept = dialled.writableLength > 0 ? kept + 1 : 0;
  }
  stream.end();
  await once(served, "close");
  expect(dialled.writableLength).toBeGreaterThan(0);
  reads.resolve();
  await once(connection[0], "end");
  expect(received.digest("hex")).toBe(sent.digest("hex"));
  if (!dialled.destroyed) await once(dialled, "close");
});

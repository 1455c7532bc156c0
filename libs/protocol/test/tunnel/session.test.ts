import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  allCapabilities,
  DialError,
  noCapabilities,
  type SessionEnd,
  TunnelSession,
  type TunnelStream,
} from "../../src/tunnel/index.ts";
import { realClock, sessionPair, socketPair } from "./pair.ts";

describe.each([
  { name: "between Keelson ends", capabilities: allCapabilities },
  { name: "without extensions", capabilities: noCapabilities },
])("a tunnel session $name", ({ capabilities }) => {
  let target: Server;
  let address: string;
  let onConnection: (socket: Socket) => void;
  let pair: Awaited<ReturnType<typeof sessionPair>>;

  beforeEach(async () => {
    onConnection = (socket) => socket.pipe(socket);
    target = createServer({ allowHalfOpen: true }, (socket) => {
      socket.on("error", () => {});
      onConnection(socket);
    });
    await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
    address = `127.0.0.1:${(target.address() as AddressInfo).port}`;
    pair = await sessionPair({ capabilities });
  });

  afterEach(() => {
    pair.close();
    target.close();
  });

  /** A stream that may break when the test closes its session. */
  const open = (to = address): TunnelStream => pair.server.open("tcp", to).on("error", () => {});

  test("carries bytes both ways", async () => {
    const stream = open();
    stream.write("hello");
    const [chunk] = await once(stream, "data");
    expect(String(chunk)).toBe("hello");
    stream.destroy();
    await once(stream, "close");
  });

  test("delivers 32 MiB unchanged, then the end", async () => {
    const sent = randomBytes(32 * 1024 * 1024);
    onConnection = (socket) => socket.end(sent);
    const stream = open();
    const received = await buffer(stream);
    expect(createHash("sha256").update(received).digest("hex")).toBe(createHash("sha256").update(sent).digest("hex"));
  });

  test("ends only the refused stream when the target does not listen", async () => {
    const other = open();
    const refused = open("127.0.0.1:1");
    const failure = capabilities.ack ? refused.opened : once(refused, "end");
    if (capabilities.ack) await expect(failure).rejects.toThrow(DialError);
    else await expect(failure).rejects.toThrow("ECONNREFUSED");
    other.write("still here");
    const [chunk] = await once(other, "data");
    expect(String(chunk)).toBe("still here");
    expect(pair.agent.closed).toBe(false);
  });

  test("a lost connection ends every stream with the protocol's text", async () => {
    const stream = open();
    stream.write("x");
    await once(stream, "data");
    pair.agent.close("gone");
    const [error] = await once(stream, "error");
    expect((error as Error).message).toBe("tunnel disconnect");
  });
});

test("a session on a connection that is already gone ends at once", async () => {
  const [socket, transport] = await socketPair();
  socket.destroy();
  transport.destroy();
  await once(transport, "close");
  const { promise, resolve } = Promise.withResolvers<SessionEnd>();
  const session = new TunnelSession({
    role: "server",
    transport,
    sessionName: "node-a/42",
    clock: realClock,
    onClosed: resolve,
  });
  session.ping();
  expect(await promise).toEqual({ kind: "lost", message: "connection closed" });
  expect(session.closed).toBe(true);
});

describe("half-close", () => {
  test("a target that answers after the end of the request is heard", async () => {
    const target = createServer({ allowHalfOpen: true }, async (socket) => {
      const request = await buffer(socket);
      socket.end(`got ${request.length}`);
    });
    await new Promise<void>((resolve) => target.listen(0, "127.0.0.1", resolve));
    const pair = await sessionPair();
    const stream = pair.server.open("tcp", `127.0.0.1:${(target.address() as AddressInfo).port}`);
    stream.end(Buffer.alloc(300_000));
    expect(String(await buffer(stream))).toBe("got 300000");
    pair.close();
    target.close();
  });
});

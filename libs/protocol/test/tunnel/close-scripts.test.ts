import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, describe, expect, test } from "vitest";
import type { ConnectTarget, TunnelStream } from "../../src/tunnel/index.ts";
import { mustFail } from "./vectors.ts";
import { Wire } from "./wire.ts";

const [data, connect, error, pause, resume, sync] = [1, 2, 3, 6, 7, 8];
let wire: Wire | undefined;

afterEach(() => {
  wire?.session.close("test is over");
  wire?.socket.destroy();
});

/** Waits until the wire shows exactly these frames, and no more for a moment. */
async function sees(expected: readonly string[]): Promise<void> {
  await expect.poll(() => wire!.seen).toEqual(expected);
  await delay(20);
  expect(wire!.seen).toEqual(expected);
}

async function openedStream(): Promise<TunnelStream> {
  wire = await Wire.open("server");
  const stream = wire.session.open("tcp", "127.0.0.1:10250").on("error", () => {});
  await sees(['Connect 2 "tcp/127.0.0.1:10250"']);
  wire.seen.length = 0;
  return stream;
}

/** An agent session whose handler the test plays. */
async function agentWire(onConnect: (stream: TunnelStream, target: ConnectTarget) => void): Promise<void> {
  wire = await Wire.open("client", { onConnect });
}

describe("a server's stream towards a stock agent", () => {
  test("closed here first: one EOF, and the peer's echo and afterthought are ignored", async () => {
    const stream = await openedStream();
    stream.destroy();
    await sees(['Error 2 "EOF"']);
    wire!.send(error!, 2, "EOF");
    wire!.send(error!, 2, "read tcp 127.0.0.1:60702->127.0.0.1:10250: use of closed network connection");
    await sees(['Error 2 "EOF"']);
  });

  test("closed by the target: all data, a clean end, one echo", async () => {
    const stream = await openedStream();
    const chunks: string[] = [];
    stream.on("data", (chunk) => chunks.push(String(chunk)));
    const ended = once(stream, "close");
    wire!.send(data!, 2, "last ");
    wire!.send(data!, 2, "words");
    wire!.send(error!, 2, "EOF");
    wire!.send(error!, 2, "EOF");
    await ended;
    expect(chunks.join("")).toBe("last words");
    await sees(['Error 2 "EOF"']);
  });

  test("a refused dial arrives as the stream's error, with its reason, echoed once", async () => {
    const stream = await openedStream();
    const failed = once(stream, "error");
    const reason = "dial tcp 127.0.0.1:1: connect: connection refused";
    wire!.send(error!, 2, reason);
    wire!.send(error!, 2, "EOF");
    expect(((await failed)[0] as Error).message).toBe(reason);
    await sees([`Error 2 ${JSON.stringify(reason)}`]);
  });

  test("data for a stream that nobody knows is answered", async () => {
    await openedStream();
    wire!.send(data!, 999, "hello?");
    await sees(['Error 999 "connection not found node-a/42/999"']);
  });

  test("data that follows a close is answered like stock does", async () => {
    const stream = await openedStream();
    stream.destroy();
    wire!.send(data!, 2, "late");
    await sees(['Error 2 "EOF"', 'Error 2 "connection not found node-a/42/2"']);
  });

  test("the end of writing alone sends nothing while the answer may still come", async () => {
    const stream = await openedStream();
    stream.end("request");
    await sees(['Data 2 "request"']);
    wire!.send(data!, 2, "answer");
    expect(String((await once(stream, "data"))[0])).toBe("answer");
    wire!.send(error!, 2, "EOF");
    await sees(['Data 2 "request"', 'Error 2 "EOF"']);
  });

  test("pause stops data and nothing else; an abort does not wait for it", async () => {
    const stream = await openedStream();
    wire!.send(pause!, 2);
    wire!.send(data!, 999, "");
    await sees(['Error 999 "connection not found node-a/42/999"']);
    stream.write("held back");
    await sees(['Error 999 "connection not found node-a/42/999"']);
    wire!.send(resume!, 2);
    await sees(['Error 999 "connection not found node-a/42/999"', 'Data 2 "held back"']);
    wire!.send(pause!, 2);
    await delay(10);
    stream.write("never sent");
    stream.destroy();
    await expect.poll(() => wire!.seen.at(-1)).toBe('Error 2 "EOF"');
  });

  test("a writer that is paused wakes up when the other side closes", async () => {
    const stream = await openedStream();
    wire!.send(pause!, 2);
    await delay(10);
    const written = new Promise<void>((resolve) => stream.write(Buffer.alloc(200_000), () => resolve()));
    wire!.send(error!, 2, "gone");
    await written;
    await expect.poll(() => stream.destroyed).toBe(true);
  });

  test("a reader that stalls pauses the peer once, and resumes it once it reads", async () => {
    const stream = await openedStream();
    const piece = Buffer.alloc(64 * 1024, 0x61);
    for (let index = 0; index < 8; index++) wire!.send(data!, 2, piece);
    await sees(["Pause 2"]);
    stream.resume();
    await sees(["Pause 2", "Resume 2"]);
  });

  test("a Sync older than a fresh stream does not end it", async () => {
    const stream = await openedStream();
    wire!.send(sync!, 0);
    wire!.send(sync!, 0);
    wire!.send(data!, 2, "alive");
    expect(String((await once(stream, "data"))[0])).toBe("alive");
  });

  test("an agent that opens streams is refused, and keeps its tunnel", async () => {
    await openedStream();
    wire!.send(connect!, 7, "tcp/127.0.0.1:22");
    await sees(['Error 7 "connect not allowed"']);
    expect(wire!.session.closed).toBe(false);
  });
});

describe("an agent towards a stock server", () => {
  test("a refused target costs that stream only", async () => {
    await agentWire((stream) => wire!.session.refuse(stream, "forbidden", "connect not allowed"));
    for (let id = 2; id < 1_002; id++) wire!.send(connect!, id, "tcp/10.0.0.1:22");
    await expect.poll(() => wire!.seen.length).toBe(1_000);
    expect(new Set(wire!.seen.map((line) => line.split(" ").slice(2).join(" ")))).toEqual(
      new Set(['"connect not allowed"']),
    );
    expect(wire!.session.closed).toBe(false);
  });

  test("the target's end closes the stream: data, then one EOF", async () => {
    await agentWire((stream) => {
      wire!.session.accept(stream);
      stream.end("bye");
    });
    wire!.send(connect!, 2, "tcp/127.0.0.1:10250");
    await sees(['Data 2 "bye"', 'Error 2 "EOF"']);
    wire!.send(error!, 2, "EOF");
    await sees(['Data 2 "bye"', 'Error 2 "EOF"']);
  });

  test("data that comes before the dial is done waits for it", async () => {
    const streams: TunnelStream[] = [];
    await agentWire((stream) => streams.push(stream));
    wire!.send(connect!, 2, "tcp/127.0.0.1:10250");
    wire!.send(data!, 2, "early");
    await expect.poll(() => streams).toHaveLength(1);
    await delay(10);
    wire!.session.accept(streams[0]!);
    expect(String((await once(streams[0]!, "data"))[0])).toBe("early");
  });

  test("an unknown stream is named as stock agents do", async () => {
    await agentWire(() => {});
    wire!.send(data!, 999, "x");
    await sees(['Error 999 "connection not found client/0/999"']);
  });

  test("a connection id that is in use is not taken over", async () => {
    await agentWire((stream) => wire!.session.accept(stream));
    wire!.send(connect!, 2, "tcp/127.0.0.1:10250");
    wire!.send(connect!, 2, "tcp/127.0.0.1:10250");
    await sees(['Error 2 "connection id is in use"']);
  });

  test("unknown frame types and peer announcements are ignored", async () => {
    await agentWire(() => {});
    wire!.send(100, 2, "x");
    wire!.send(4, 0, "not an announcement");
    wire!.send(data!, 5, "");
    await sees(['Error 5 "connection not found client/0/5"']);
  });
});

describe("a peer that breaks the protocol", () => {
  test.each(mustFail)("$name: close 1002 and the end of this session", async ({ hex }) => {
    wire = await Wire.open("server");
    const neighbour = await Wire.open("server");
    const stream = wire.session.open("tcp", "127.0.0.1:10250");
    const failed = once(stream, "error");
    const started = performance.now();
    wire.sendMessage(Buffer.from(hex, "hex"));
    await wire.closed;
    expect(performance.now() - started).toBeLessThan(1_000);
    expect(wire.seen.at(-1)).toMatch(/^close 1002 /);
    expect(((await failed)[0] as Error).message).toBe("tunnel disconnect");
    expect(neighbour.session.closed).toBe(false);
    neighbour.session.close("test is over");
  });

  test("a text message ends the session", async () => {
    wire = await Wire.open("server");
    wire.sendMessage(Buffer.from("hello"), 1);
    await wire.closed;
    expect(wire.seen).toEqual(["close 1002 text message in a tunnel"]);
  });

  test("a message beyond 4 MiB is closed with 1009, before it is read", async () => {
    wire = await Wire.open("server");
    wire.socket.write(Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0]));
    await wire.closed;
    expect(wire.seen).toEqual(["close 1009 message is too long"]);
  });
});

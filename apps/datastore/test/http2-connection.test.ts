import { type ClientHttp2Session, connect, constants } from "node:http2";
import { type AddressInfo, connect as connectSocket, createServer, type Server } from "node:net";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Http2Connection } from "../src/http2/connection.ts";
import { clientPreface, makeFrame } from "../src/http2/frame.ts";
import type { RequestHeaders } from "../src/http2/request-headers.ts";
import type { Http2Stream } from "../src/http2/stream.ts";

/** How long a condition may take on a machine that is busy with something else. */
const patiently = { timeout: 15_000 };
const okHeaders = Buffer.from([0x88]);

/** Answers each request with its own bytes, and notes the paths. */
let server: Server;
let port: number;
let requests: RequestHeaders[];
let aborted: number;
let taken: number;

beforeEach(async () => {
  requests = [];
  aborted = 0;
  taken = 0;
  server = createServer((socket) => {
    new Http2Connection(socket, { onRequest: echo, onClosed() {} });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  port = (server.address() as AddressInfo).port;
});

afterEach(() => new Promise((resolve) => server.close(resolve)));

function echo(stream: Http2Stream, headers: RequestHeaders): void {
  requests.push(headers);
  const chunks: Buffer[] = [];
  stream.listener = {
    onData: (bytes) => chunks.push(Buffer.from(bytes)),
    onEnd() {
      if (headers.path === "/slow") return;
      stream.sendHeaders(okHeaders);
      const body = Buffer.concat(chunks);
      // As if the memory were used again at once: what has been taken must not be looked at any more.
      stream.sendData(body, () => {
        taken++;
        body.fill(0xee);
      });
      // `x: 1` as a literal that is not indexed.
      stream.end(Buffer.from([0, 1, 0x78, 1, 0x31]));
    },
    onAbort: () => aborted++,
    onDrain() {},
  };
}

function call(session: ClientHttp2Session, path: string, body: Buffer): Promise<{ body: Buffer; trailer: unknown }> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": path, "content-type": "application/grpc" });
    const chunks: Buffer[] = [];
    let trailer: unknown;
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("trailers", (trailers) => {
      trailer = trailers.x;
    });
    stream.on("error", reject);
    stream.on("end", () => resolve({ body: Buffer.concat(chunks), trailer }));
    stream.end(body);
  });
}

describe("against Node's HTTP/2 client", () => {
  it("returns bodies of any size, through small windows, many at once", async () => {
    const session = connect(`http://127.0.0.1:${port}`, { settings: { initialWindowSize: 1_000 } });
    const sizes = [0, 1, 999, 1_000, 16_384, 16_385, 70_000, 1_500_000];
    const answers = await Promise.all(sizes.map((size) => call(session, `/s/${size}`, Buffer.alloc(size, size % 251))));
    answers.forEach(({ body, trailer }, at) => {
      expect(body.equals(Buffer.alloc(sizes[at]!, sizes[at]! % 251))).toBe(true);
      expect(trailer).toBe("1");
    });
    await expect.poll(() => taken, patiently).toBe(sizes.length);
    session.close();
  });

  it("decodes header values as the client compressed them, over many requests with one table", async () => {
    const session = connect(`http://127.0.0.1:${port}`);
    const text = fc.string({ minLength: 1, maxLength: 60, unit: fc.constantFrom(..."abcXYZ0189-_./~!&+=;:$'()*,@") });
    await fc.assert(
      fc.asyncProperty(text, async (path) => {
        await call(session, `/${path}`, Buffer.alloc(0));
        expect(requests.at(-1)!.path).toBe(`/${path}`);
      }),
      { numRuns: 100 },
    );
    session.close();
  });

  it("tells a call that its client has given up", async () => {
    const session = connect(`http://127.0.0.1:${port}`);
    const stream = session.request({ ":method": "POST", ":path": "/slow" });
    stream.on("error", () => {});
    stream.end("x");
    await expect.poll(() => requests.length, patiently).toBe(1);
    stream.close(constants.NGHTTP2_CANCEL);
    await expect.poll(() => aborted, patiently).toBe(1);
    session.destroy();
  });
});

/** Sends raw bytes after the preface and resolves with the code of the GOAWAY that ends the connection. */
function goaway(frames: Buffer): Promise<number | undefined> {
  return new Promise((resolve) => {
    const socket = connectSocket(port, "127.0.0.1");
    const received: Buffer[] = [];
    socket.on("data", (chunk: Buffer) => received.push(chunk));
    socket.on("error", () => {});
    socket.on("close", () => {
      const bytes = Buffer.concat(received);
      for (let at = 0; at + 9 <= bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
        if (bytes[at + 3] === 7) return resolve(bytes.readUInt32BE(at + 13));
      }
      resolve(undefined);
    });
    socket.write(Buffer.concat([clientPreface, makeFrame(4, 0, 0, Buffer.alloc(0)), frames]));
  });
}

describe("against a client that breaks the rules", () => {
  it.each([
    ["a frame that is too large", makeFrame(0, 0, 1, Buffer.alloc(20_000)), 6],
    ["data on a stream that never began", makeFrame(0, 0, 1, Buffer.from("x")), 1],
    ["a stream id of the server's kind", makeFrame(1, 4, 2, Buffer.from([0x82])), 1],
    ["a header that is in no table", makeFrame(1, 4, 1, Buffer.from([0xff, 0x80, 0x01])), 9],
    ["a Huffman string that ends itself", makeFrame(1, 4, 1, Buffer.from([0, 0x84, 0xff, 0xff, 0xff, 0xff])), 9],
    [
      "a header block that is interrupted",
      Buffer.concat([makeFrame(1, 0, 1, Buffer.from([0x82])), makeFrame(6, 0, 0, Buffer.alloc(8))]),
      1,
    ],
    ["a window that overflows", makeFrame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])), 3],
    ["padding longer than its frame", makeFrame(1, 4 | 8, 1, Buffer.from([200, 0x82])), 1],
  ])("ends the connection with the right code: %s", async (_name, frames, code) => {
    expect(await goaway(frames)).toBe(code);
  });

  it("survives anything", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (noise) => {
        const socket = connectSocket(port, "127.0.0.1");
        socket.on("error", () => {});
        await new Promise<void>((resolve) => socket.write(Buffer.concat([clientPreface, noise]), () => resolve()));
        socket.destroy();
      }),
      { numRuns: 50 },
    );
    const session = connect(`http://127.0.0.1:${port}`);
    expect((await call(session, "/alive", Buffer.from("yes"))).body.toString()).toBe("yes");
    session.close();
  });
});

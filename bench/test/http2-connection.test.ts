import { createServer, type Http2Server } from "node:http2";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Http2Connection } from "../src/datastore/http2-connection.ts";

describe("the load generator's HTTP/2 connection", () => {
  let server: Http2Server;
  let url = "";
  const seenPaths: unknown[] = [];

  beforeAll(async () => {
    server = createServer();
    // Answers each gRPC message with itself, cut into uneven DATA frames; /refuse answers with trailers only.
    server.on("stream", (stream, headers) => {
      seenPaths.push([headers[":method"], headers[":path"], headers.te, headers["content-type"]]);
      if (headers[":path"] === "/refuse") {
        stream.respond({ ":status": 200, "grpc-status": "14" }, { endStream: true });
        return;
      }
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        const body = Buffer.concat(chunks);
        stream.respond({ ":status": 200 }, { waitForTrailers: true });
        stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
        stream.write(body.subarray(0, 3));
        stream.write(body.subarray(3, 7));
        stream.end(body.subarray(7));
      });
    });
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
    url = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
  });
  afterAll(() => server.close());

  const call = (connection: Http2Connection, path: string, message: Buffer): Promise<Buffer | undefined> =>
    new Promise((resolve) => connection.unary(path, message, resolve));

  it("matches answers to requests, many at a time", async () => {
    const connection = await Http2Connection.open(url);
    const messages = Array.from({ length: 200 }, (_, index) => Buffer.alloc(index * 37, index));
    const answers = await Promise.all(
      messages.map((message) => call(connection, `/echo/${message.length % 3}`, message)),
    );
    expect(answers.map((answer) => answer?.toString("hex"))).toEqual(
      messages.map((message) => message.toString("hex")),
    );
    expect(seenPaths[0]).toEqual(["POST", "/echo/0", "trailers", "application/grpc"]);
    connection.close();
  });

  it("tells a refused call from an answered one", async () => {
    const connection = await Http2Connection.open(url);
    expect(await call(connection, "/refuse", Buffer.from("x"))).toBeUndefined();
    expect(await call(connection, "/echo", Buffer.from("x"))).toEqual(Buffer.from("x"));
    connection.close();
  });
});

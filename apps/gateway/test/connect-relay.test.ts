import { once } from "node:events";
import { Duplex, duplexPair } from "node:stream";
import { text } from "node:stream/consumers";
import { expect, test, vi } from "vitest";
import { relayConnect } from "../src/tunnel/egress/connect-request.ts";

/** A connection that answered and ended first, and takes what comes for it only when `read` is called. */
function slowConnection(): { connection: Duplex; taken: () => string; read: () => void } {
  let taken = "";
  let waiting: (() => void) | undefined;
  let reading = false;
  const connection = new Duplex({
    allowHalfOpen: true,
    read() {},
    write(chunk: Buffer, _encoding, done) {
      const take = (): void => {
        taken += String(chunk);
        done();
      };
      if (reading) take();
      else waiting = take;
    },
  });
  return {
    connection,
    taken: () => taken,
    read() {
      reading = true;
      waiting?.();
    },
  };
}

test("what a client sent before it left reaches a target that ended first and reads slowly", async () => {
  const [client, socket] = duplexPair();
  const { connection: target, taken, read } = slowConnection();
  relayConnect(socket, Buffer.alloc(0), target);
  target.push("answer");
  target.push(null);
  const answer = text(client);
  await vi.waitUntil(() => target.readableEnded);
  client.write("first, ");
  client.end("and the rest");
  expect(await answer).toBe("HTTP/1.1 200 Connection established\r\n\r\nanswer");
  if (!socket.closed) await once(socket, "close");
  expect(taken()).toBe("");
  read();
  await once(target, "close");
  expect(taken()).toBe("first, and the rest");
});

test("what a target sent before it left reaches a client that reads slowly", async () => {
  const { connection: socket, taken, read } = slowConnection();
  const [far, target] = duplexPair();
  relayConnect(socket, Buffer.alloc(0), target);
  far.on("error", () => {}).resume();
  far.end("the whole answer");
  socket.push(null);
  await vi.waitUntil(() => target.closed);
  read();
  await once(socket, "close");
  expect(taken()).toMatch(/the whole answer$/);
});

test("an end that breaks takes the other with it", async () => {
  const [client, socket] = duplexPair();
  const { connection: target } = slowConnection();
  relayConnect(socket, Buffer.alloc(0), target);
  target.destroy(new Error("reset"));
  await once(socket, "close");
  client.destroy();
});

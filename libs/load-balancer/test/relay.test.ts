import { once } from "node:events";
import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { expect, test } from "vitest";
import { relay } from "../src/relay.ts";
import type { ServerConnection } from "../src/server-connection.ts";

/** A socket whose other end takes bytes when it is told to: kernels hold too much to find what waits in this process. */
class SlowSocket extends Duplex {
  readonly taken: Buffer[] = [];
  #waiting: (() => void) | undefined;
  isSlow = false;

  constructor() {
    super({ allowHalfOpen: true, read() {} });
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.taken.push(bytes);
    if (this.isSlow) this.#waiting = done;
    else done();
  }

  takeAll(): void {
    this.isSlow = false;
    this.#waiting?.();
  }
}

function relayed() {
  const [client, server] = [new SlowSocket(), new SlowSocket()];
  let deliver: Parameters<ServerConnection["deliverTo"]>[0] = () => "written";
  const connection = {
    socket: server as unknown as Socket,
    deliverTo: (sink: typeof deliver) => {
      deliver = sink;
    },
  };
  let isOver = false;
  relay(client as unknown as Socket, connection as unknown as ServerConnection, () => {
    isOver = true;
  });
  return { client, server, deliver: (bytes: Buffer) => deliver(bytes), isOver: () => isOver };
}

test("what waits for a slow reader is delivered, also when both ends have said all they have to say", async () => {
  const { client, server, deliver, isOver } = relayed();
  client.isSlow = true;
  client.push(null);
  deliver(Buffer.from("a"));
  deliver(Buffer.from("b"));
  server.push(null);
  await once(server, "close");
  expect(client.destroyed).toBe(false);
  client.takeAll();
  await once(client, "close");
  expect(Buffer.concat(client.taken).toString()).toBe("ab");
  expect(isOver()).toBe(true);
});

test.each([
  ["breaks", new Error("reset")],
  ["is closed before its time", undefined],
])("when one side %s, the other is closed with it", async (_how, error) => {
  const { client, server, isOver } = relayed();
  client.push(null);
  server.destroy(error);
  await once(client, "close");
  expect(isOver()).toBe(true);
});

import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { serverPassword } from "./support/fake-registration.ts";
import { type Harness, startHarness } from "./support/harness.ts";

let harness: Harness;
beforeAll(async () => {
  harness = await startHarness();
});
afterAll(async () => {
  await harness[Symbol.asyncDispose]();
});

const settings = { numRuns: 60 };

/** The status line's code of whatever the gateway answers to these bytes; 0 when it just hangs up. */
async function statusOf(bytes: Uint8Array): Promise<number> {
  const socket: TLSSocket = connect({
    host: "127.0.0.1",
    port: harness.port,
    ca: harness.registration.serverCa.bundlePem,
  });
  let text = "";
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
    if (text.includes("\r\n\r\n")) socket.destroy();
  });
  socket.on("error", () => {});
  socket.end(bytes);
  await once(socket, "close");
  return Number(/^HTTP\/1\.1 (\d{3}) /.exec(text)?.[1] ?? 0);
}

test("random bytes after the handshake get a 400 or the door", async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 400 }), async (bytes) => {
      expect([0, 400]).toContain(await statusOf(bytes));
    }),
    settings,
  );
});

test("random header values never get past authentication, and never break anything", async () => {
  const value = fc.string({ unit: "binary", maxLength: 200 }).map((text) => text.replace(/[\r\n\0]/g, "?"));
  const name = fc.constantFrom(
    "Authorization",
    "Host",
    "X-Remote-User",
    "Upgrade",
    "Connection",
    "Expect",
    "Range",
    "TE",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(name, value), { maxLength: 6 }), async (headers) => {
      const lines = headers.map(([key, text]) => `${key}: ${text}\r\n`).join("");
      const head = `GET /v1-k3s/config HTTP/1.1\r\nHost: x\r\n${lines}Connection: close\r\n\r\n`;
      expect([400, 401, 403, 417, 431]).toContain(await statusOf(Buffer.from(head, "latin1")));
    }),
    settings,
  );
});

test("random paths without credentials end in a refusal, a redirect or a public file", async () => {
  const path = fc.array(
    fc.constantFrom("..", ".", "", "static", "v1-k3s", "config", "%2e%2e", "%2f", "a", "%00", "%"),
    {
      maxLength: 8,
    },
  );
  await fc.assert(
    fc.asyncProperty(path, async (segments) => {
      const { status } = await harness.call(`/${segments.join("/")}`);
      expect([301, 400, 401, 403, 404]).toContain(status);
    }),
    settings,
  );
});

test("random bodies to server routes are a bad request or a request", async () => {
  const basic = `server:${serverPassword}`;
  const body = fc.oneof(
    fc.uint8Array({ maxLength: 300 }),
    fc.json().map((text) => Buffer.from(text)),
  );
  await fc.assert(
    fc.asyncProperty(body, async (bytes) => {
      const { status } = await harness.call("/v1-k3s/token", { method: "PUT", basic, body: bytes });
      expect([200, 400]).toContain(status);
    }),
    settings,
  );
  const large = Buffer.alloc(100_000);
  expect((await harness.call("/v1-k3s/token", { method: "PUT", basic, body: large })).status).toBe(413);
});

test("nothing of all that reached the Kubernetes API", () => {
  expect(harness.seen.length).toBe(0);
});

import { Duplex } from "node:stream";
import fc from "fast-check";
import { expect, test, vi } from "vitest";
import { encodeSyncedIds, parseSyncedIds } from "../../src/tunnel/frame.ts";
import {
  noCapabilities,
  type SessionEnd,
  TunnelSession,
  type TunnelSessionOptions,
  writeBigVarint,
} from "../../src/tunnel/index.ts";
import { opcodes, writeWebSocketHeader } from "../../src/tunnel/websocket.ts";
import { realClock } from "./pair.ts";
import { Wire } from "./wire.ts";

/** A frame with any 64-bit connection id, which our own encoder could not write. */
function rawFrame(type: number, connectionId: bigint, payload = ""): Buffer {
  const deadline = type <= 2 ? writeBigVarint(15_000n) : Buffer.alloc(0);
  return Buffer.concat([
    writeBigVarint(1n),
    writeBigVarint(connectionId),
    writeBigVarint(BigInt(type)),
    deadline,
    Buffer.from(payload),
  ]);
}

/** One WebSocket message of a client. */
function webSocketFrame(opcode: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(14);
  return Buffer.concat([header.subarray(0, writeWebSocketHeader(header, 0, opcode, payload.length, 0)), payload]);
}

/** A server's session whose peer takes nothing until `release` is called. */
function stalledSession(options: Partial<TunnelSessionOptions> = {}): {
  session: TunnelSession;
  transport: Duplex;
  written: Buffer[];
  release(): void;
} {
  const written: Buffer[] = [];
  let blocked: (() => void) | undefined;
  let open = false;
  const transport = new Duplex({
    read() {},
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk);
      if (open) done();
      else blocked = done;
    },
  });
  const session = new TunnelSession({
    role: "server",
    transport,
    capabilities: noCapabilities,
    sessionName: "node-a/42",
    clock: realClock,
    ...options,
  });
  return {
    session,
    transport,
    written,
    release() {
      open = true;
      blocked?.();
    },
  };
}

const safe = (id: bigint): boolean => Number.isSafeInteger(Number(id)) && BigInt(Number(id)) === id;

test("whatever 64-bit id a peer uses, its session answers it or ends, and nothing else happens", async () => {
  const id = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.bigInt({ min: -(2n ** 54n), max: 2n ** 54n }),
    fc.constantFrom(...[51n, 52n, 53n].flatMap((bits) => [-1n, 0n, 1n].map((by) => 2n ** bits + by))),
  );
  const frames = fc.array(fc.record({ id, type: fc.constantFrom(1, 2, 3, 6, 7, 64, 65, 66) }), { minLength: 1 });
  await fc.assert(
    fc.asyncProperty(frames, fc.constantFrom("client" as const, "server" as const), async (sent, role) => {
      const onConnect = (stream: Parameters<NonNullable<TunnelSessionOptions["onConnect"]>>[0]): void =>
        wire.session.refuse(stream, "refused", "no");
      const wire = await Wire.open(role, role === "client" ? { onConnect } : {});
      for (const frame of sent) wire.sendMessage(rawFrame(frame.type, frame.id, "tcp/127.0.0.1:10250"));
      const broken = sent.some((frame) => !safe(frame.id));
      if (!broken) wire.sendMessage(rawFrame(1, 7n));
      await vi.waitFor(() => expect(wire.seen.at(-1)).toMatch(broken ? /^close 1002 / : /^Error 7 "connection not f/), {
        interval: 1,
      });
      // Every Data for an id that a number holds was answered with the very same id.
      const asked = sent.slice(0, broken ? sent.findIndex((frame) => !safe(frame.id)) : sent.length);
      if (!broken) {
        for (const frame of asked) if (frame.type === 1) expect(wire.seen.join("\n")).toContain(`Error ${frame.id} `);
      }
      wire.session.close("done");
      await wire.closed;
    }),
    { numRuns: 60 },
  );
});

test("synced ids may be any a peer chose", () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.maxSafeInteger()), (ids) => {
      expect(parseSyncedIds(encodeSyncedIds(ids))).toEqual(new Set(ids));
    }),
  );
});

test("a peer that reads no answers loses its session, also when our own timer finds out", async () => {
  let tick = (): void => {};
  let now = 0;
  const ends: SessionEnd[] = [];
  const { session, transport } = stalledSession({
    onClosed: (end) => ends.push(end),
    clock: {
      ...realClock,
      monotonic: () => now,
      setInterval: (step) => {
        tick = step;
        return { cancel() {} };
      },
    },
  });
  const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  // Towards a peer without half-close ended streams linger, and time closes them: four Errors, more than will fit.
  for (let count = 0; count < 4; count++) {
    const stream = session.open("tcp", "127.0.0.1:10250").on("error", () => {});
    stream.resume();
    await settle();
    stream.end();
  }
  await settle();
  const limit = 4 * 1024 * 1024;
  const answerBytes = 16 + "connection not found node-a/42/999".length;
  const wave = Buffer.concat(Array(1_000).fill(webSocketFrame(opcodes.binary, rawFrame(1, 999n))));
  while (session.stats.queuedBytes + 1_000 * answerBytes < limit) {
    transport.push(wave);
    await settle();
  }
  while (session.stats.queuedBytes + answerBytes <= limit) {
    transport.push(webSocketFrame(opcodes.binary, rawFrame(1, 999n)));
    await settle();
  }
  now += 11_000;
  transport.push(webSocketFrame(opcodes.pong, Buffer.alloc(0)));
  await settle();
  expect(ends).toEqual([]);
  tick();
  await settle();
  expect(ends).toEqual([{ kind: "protocol", message: "peer does not read our answers" }]);
});

test("a fault in a handler ends its session with the cause", async () => {
  const ends: SessionEnd[] = [];
  const fault = new Error("fault");
  const wire = await Wire.open("client", {
    onConnect: () => {
      throw fault;
    },
    onClosed: (end) => ends.push(end),
  });
  wire.send(2, 2, "tcp/127.0.0.1:10250");
  await wire.closed;
  expect(wire.seen.at(-1)).toBe("close 1011 internal error: fault");
  expect(ends).toEqual([{ kind: "local", message: "internal error: fault", cause: fault }]);
});

test("a peer that sends pings and reads nothing is owed one pong, that of the latest", async () => {
  const { session, transport, written, release } = stalledSession();
  for (let wave = 0; wave < 20; wave++) {
    const pings = Array.from({ length: 1_000 }, (_, index) =>
      webSocketFrame(opcodes.ping, Buffer.from(`${wave * 1_000 + index}`)),
    );
    transport.push(Buffer.concat(pings));
    await new Promise((resolve) => setImmediate(resolve));
  }
  // The first blocks the transport, and its buffer fills up to its mark; what comes later replaces what waits.
  expect(transport.writableLength).toBeLessThanOrEqual(transport.writableHighWaterMark + 128);
  release();
  await vi.waitFor(() => expect(String(written.at(-1))).toContain("19999"));
  session.close("done");
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { opcodes, unmask, WebSocketReader, writeWebSocketHeader } from "../../src/tunnel/websocket.ts";

const message = fc.record({
  payload: fc.uint8Array({ maxLength: 300 }),
  maskKey: fc.option(fc.integer(), { nil: undefined }),
});

test("messages survive any masking, fragmentation and chunking", () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 8 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 40 })),
      fc.boolean(),
      (messages, sizes, masked) => {
        const wire: Buffer[] = [];
        for (const { payload, maskKey } of messages) {
          const key = masked ? (maskKey ?? 0) : undefined;
          const half = Math.floor(payload.length / 2);
          // Each message in two fragments with a ping between them, as RFC 6455 allows.
          for (const [index, part] of [payload.subarray(0, half), payload.subarray(half)].entries()) {
            const header = Buffer.alloc(14);
            const opcode = index === 0 ? opcodes.binary : opcodes.continuation;
            const length = writeWebSocketHeader(header, 0, opcode, part.length, key);
            if (index === 0) header[0]! &= 0x7f;
            const body = Buffer.from(part);
            if (key !== undefined) unmask(body, key, 0);
            wire.push(header.subarray(0, length), body);
            if (index === 1) continue;
            const ping = Buffer.alloc(14);
            wire.push(ping.subarray(0, writeWebSocketHeader(ping, 0, opcodes.ping, 0, key)));
          }
        }
        const bytes = Buffer.concat(wire);
        const received: Buffer[] = [];
        const parts: Buffer[] = [];
        let pings = 0;
        const reader = new WebSocketReader(masked ? "server" : "client", {
          payload: (piece, last) => {
            parts.push(Buffer.from(piece));
            if (last) received.push(Buffer.concat(parts.splice(0)));
          },
          ping: () => pings++,
          pong: () => {},
          close: () => {},
        });
        for (let offset = 0; offset < bytes.length; ) {
          const size = sizes.next().value as number;
          reader.push(Buffer.from(bytes.subarray(offset, offset + size)));
          offset += size;
        }
        expect(received).toEqual(messages.map(({ payload }) => Buffer.from(payload)));
        expect(pings).toBe(messages.length);
      },
    ),
  );
});

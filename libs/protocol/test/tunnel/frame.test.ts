import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeFrame, encodeFrame, encodeSyncedIds, frameTypes, parseSyncedIds } from "../../src/tunnel/frame.ts";
import { readBigVarint, readVarint, writeBigVarint, writeVarint } from "../../src/tunnel/varint.ts";
import { vectors } from "./vectors.ts";

describe("tunnel frames", () => {
  test.each(vectors)("$name decodes to its fields", ({ hex, id, connectionId, type, payload, deadlineMs }) => {
    const message = Buffer.from(hex, "hex");
    const frame = decodeFrame(message);
    expect(readBigVarint(message)).toBe(id);
    expect(frame).toMatchObject({ type, connectionId, deadlineMs: deadlineMs ?? 0 });
    expect(frame.payload).toEqual(Buffer.from(payload));
  });

  test.each(vectors.filter(({ deadlineMs }) => deadlineMs !== 0))("$name encodes to its bytes", (vector) => {
    const payload = Buffer.from(vector.payload);
    const encoded = encodeFrame(1, { type: vector.type, connectionId: vector.connectionId, payload });
    // The message id may be any 64-bit number on the wire; ours count up from 1.
    expect(Buffer.concat([writeBigVarint(vector.id), encoded.subarray(1)]).toString("hex")).toBe(vector.hex);
  });

  test("every frame survives encoding and decoding", () => {
    const types = Object.values(frameTypes).filter((type) => type === frameTypes.data || type === frameTypes.pause);
    fc.assert(
      fc.property(
        fc.nat({ max: 2 ** 31 }),
        fc.integer({ min: -(2 ** 51), max: 2 ** 51 }),
        fc.constantFrom(...types),
        fc.uint8Array({ maxLength: 300 }),
        (messageId, connectionId, type, bytes) => {
          const payload = Buffer.from(type === frameTypes.data ? bytes : []);
          const decoded = decodeFrame(encodeFrame(messageId, { type, connectionId, payload }));
          expect(decoded).toEqual({
            type,
            connectionId,
            payload,
            deadlineMs: type === frameTypes.data ? 15_000 : 0,
          });
        },
      ),
    );
  });

  test("number and bigint varints agree", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (value) => {
        const bytes = Buffer.alloc(10);
        const length = writeVarint(bytes, 0, value);
        expect(bytes.subarray(0, length)).toEqual(writeBigVarint(BigInt(value)));
        const cursor = { offset: 0, value: 0 };
        expect(readVarint(bytes, cursor)).toBe(true);
        expect(cursor).toEqual({ offset: length, value });
        expect(readBigVarint(bytes)).toBe(BigInt(value));
      }),
    );
  });

  test("an address is cut at 262 characters, an error text at 100, silently", () => {
    const long = encodeFrame(1, { type: 2, connectionId: 2, payload: Buffer.from(`tcp/${"a".repeat(300)}`) });
    expect(decodeFrame(long).payload).toHaveLength(266);
    const error = encodeFrame(1, { type: 3, connectionId: 2, payload: Buffer.from("e".repeat(300)) });
    expect(decodeFrame(error).payload).toHaveLength(100);
  });

  test("a connection id beyond what a number holds is refused", () => {
    const message = Buffer.concat([Buffer.from([2]), writeBigVarint(2n ** 60n), Buffer.from([0x0c])]);
    expect(() => decodeFrame(message)).toThrow("out of bounds");
  });

  test("synced ids are written in ascending order", () => {
    expect(encodeSyncedIds([300, 2, 3]).toString("hex")).toBe("02000000000000000300000000000000" + "2c01000000000000");
    expect(parseSyncedIds(encodeSyncedIds([2 ** 40, 7]))).toEqual(new Set([7, 2 ** 40]));
  });
});

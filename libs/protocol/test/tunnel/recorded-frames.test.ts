import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { decodeHeader, type FrameHeader, writeHeader } from "../../src/tunnel/frame.ts";
import { readBigVarint, writeBigVarint } from "../../src/tunnel/varint.ts";
import { unmask, WebSocketReader } from "../../src/tunnel/websocket.ts";

interface RecordedFrame {
  dir: "agent->server" | "server->agent";
  opcodeName: string;
  frameHeader: string;
  payload: string;
  payloadLength: number;
  message?: { id: string; connId: string; type: number; deadlineMs?: string; headerLen: number; bodyLen: number };
}

const file = join(import.meta.dirname, "../../../../conformance/vectors/tunnel-frames.jsonl");
const frames = readFileSync(file, "utf8")
  .split("\n")
  .filter((line) => line !== "")
  .map((line) => JSON.parse(line) as RecordedFrame)
  .filter(({ frameHeader }) => frameHeader !== undefined);

describe.each(["agent->server", "server->agent"] as const)("frames of stock k3s, %s", (direction) => {
  const recorded = frames.filter(({ dir }) => dir === direction);
  const messages = recorded.filter(({ message }) => message !== undefined);

  test(`${messages.length} headers decode to the recorded fields, and encode to the recorded bytes`, () => {
    for (const { payload, message } of messages) {
      const bytes = Buffer.from(payload, "hex");
      const header: FrameHeader = { type: 0, connectionId: 0, deadlineMs: 0, length: 0 };
      expect(decodeHeader(bytes, header)).toBe(true);
      expect(header).toEqual({
        type: message!.type,
        connectionId: Number(message!.connId),
        deadlineMs: Number(message!.deadlineMs ?? 0),
        length: message!.headerLen,
      });
      expect(readBigVarint(bytes).toString()).toBe(message!.id);
      if (message!.deadlineMs !== undefined && message!.deadlineMs !== "15000") continue; // we always write 15000
      const ours = Buffer.alloc(64);
      const length = writeHeader(ours, 0, 1, header.connectionId, header.type);
      const withId = Buffer.concat([writeBigVarint(BigInt(message!.id)), ours.subarray(1, length)]);
      expect(withId).toEqual(bytes.subarray(0, message!.headerLen));
    }
  });

  test("the WebSocket framing reads back byte for byte, in pieces of any size", () => {
    const whole = recorded.filter(({ payload, payloadLength }) => payload.length === payloadLength * 2);
    const pings: string[] = [];
    const payloads: Buffer[] = [];
    let parts: Buffer[] = [];
    const reader = new WebSocketReader(direction === "agent->server" ? "server" : "client", {
      payload: (piece, last) => {
        parts.push(Buffer.from(piece));
        if (!last) return;
        payloads.push(Buffer.concat(parts));
        parts = [];
      },
      ping: () => pings.push("ping"),
      pong: () => pings.push("pong"),
      close: () => {},
    });
    const wire: Buffer[] = [];
    for (const { frameHeader, payload } of whole) {
      const header = Buffer.from(frameHeader, "hex");
      const bytes = Buffer.from(payload, "hex");
      if ((header[1]! & 0x80) !== 0) unmask(bytes, header.readInt32LE(header.length - 4), 0);
      wire.push(header, bytes);
    }
    const stream = Buffer.concat(wire);
    for (let offset = 0, size = 1; offset < stream.length; offset += size, size = (size % 97) + 1) {
      reader.push(Buffer.from(stream.subarray(offset, offset + size)));
    }
    const controls = whole.filter(({ opcodeName }) => opcodeName === "ping" || opcodeName === "pong");
    expect(pings).toEqual(controls.map(({ opcodeName }) => opcodeName));
    const expected = whole.filter(({ opcodeName }) => opcodeName === "binary").map(({ payload }) => payload);
    expect(payloads.map((payload) => payload.toString("hex"))).toEqual(expected);
  });
});

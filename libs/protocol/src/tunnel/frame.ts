import { TunnelProtocolError } from "./errors.ts";
import { readVarint, skipVarint, type VarintCursor, writeVarint } from "./varint.ts";

/**
 * Frame types. 1 to 8 are remotedialer's (6 and 7 since 2021, 8 since 2024); 64 and up are Keelson's, sent only when both
 * ends showed the capability. Every implementation skips types it does not know.
 */
export const frameTypes = {
  data: 1,
  connect: 2,
  error: 3,
  addClient: 4,
  removeClient: 5,
  pause: 6,
  resume: 7,
  syncConnections: 8,
  /** Capability `ack`: the dial of this stream succeeded (empty), or failed (`<failure> <text>`). */
  dialAck: 64,
  /** Capability `credit`: the sender of Data may send this many more bytes (varint). */
  credit: 65,
  /** Capability `halfclose`: no more Data from this side; the other direction goes on. */
  endWrite: 66,
  /** Capability `drain`: open no more streams on this session. */
  drain: 67,
  /** Capability `probe`: answer with the same payload at once. */
  probe: 68,
  probeReply: 69,
} as const;

/** The deadline field of Data and Connect, which nobody reads any more: what every current Go peer writes. */
export const frameDeadlineMs = 15_000;

/** How much of a payload each type's receiver reads; the rest is cut silently (remotedialer). Data is not limited here. */
export const payloadLimits: Readonly<Record<number, number>> = {
  [frameTypes.connect]: 266,
  [frameTypes.error]: 100,
  [frameTypes.addClient]: 100,
  [frameTypes.removeClient]: 100,
  [frameTypes.pause]: 0,
  [frameTypes.resume]: 0,
  [frameTypes.syncConnections]: 1024 * 1024,
  [frameTypes.dialAck]: 256,
  [frameTypes.credit]: 10,
  [frameTypes.endWrite]: 0,
  [frameTypes.drain]: 0,
  [frameTypes.probe]: 16,
  [frameTypes.probeReply]: 16,
};

/** The longest header: three ten-byte varints and a deadline. */
export const maxHeaderLength = 40;

export interface FrameHeader {
  type: number;
  connectionId: number;
  /** Milliseconds; only Data and Connect have it, others read 0. v0.2 peers write 0 in Data. */
  deadlineMs: number;
  /** Bytes of the header; the payload follows. */
  length: number;
}

/** A whole frame, as tests and the session's control path use it. */
export interface Frame {
  type: number;
  connectionId: number;
  payload: Buffer;
}

/**
 * Decodes a header at the start of `bytes` into `header`. Returns false when there are too few bytes, throws a
 * TunnelProtocolError on what can never become a header.
 */
export function decodeHeader(bytes: Uint8Array, header: FrameHeader): boolean {
  const cursor: VarintCursor = { offset: 0, value: 0 };
  if (!skipVarint(bytes, cursor)) return false;
  if (!readVarint(bytes, cursor)) return false;
  if (!Number.isSafeInteger(cursor.value)) throw new TunnelProtocolError("connection id is out of bounds");
  header.connectionId = cursor.value;
  if (!readVarint(bytes, cursor)) return false;
  header.type = cursor.value;
  header.deadlineMs = 0;
  if (header.type === frameTypes.data || header.type === frameTypes.connect) {
    if (!readVarint(bytes, cursor)) return false;
    header.deadlineMs = cursor.value;
  }
  header.length = cursor.offset;
  return true;
}

/** Writes a header into `bytes`; returns the offset behind it. `messageId` is for logs only, so small ones are fine. */
export function writeHeader(
  bytes: Uint8Array,
  offset: number,
  messageId: number,
  connectionId: number,
  type: number,
): number {
  let at = writeVarint(bytes, offset, messageId);
  at = writeVarint(bytes, at, connectionId);
  at = writeVarint(bytes, at, type);
  return type === frameTypes.data || type === frameTypes.connect ? writeVarint(bytes, at, frameDeadlineMs) : at;
}

/** Encodes a whole frame: the payload of one WebSocket message. */
export function encodeFrame(messageId: number, { type, connectionId, payload }: Frame): Buffer {
  const bytes = Buffer.allocUnsafe(maxHeaderLength + payload.length);
  const length = writeHeader(bytes, 0, messageId, connectionId, type);
  payload.copy(bytes, length);
  return bytes.subarray(0, length + payload.length);
}

/** Decodes a whole WebSocket message. Throws a TunnelProtocolError when the header is cut short or malformed. */
export function decodeFrame(message: Buffer): Frame & { deadlineMs: number } {
  const header: FrameHeader = { type: 0, connectionId: 0, deadlineMs: 0, length: 0 };
  if (!decodeHeader(message, header)) throw new TunnelProtocolError("frame header is cut short");
  const { type, connectionId, deadlineMs } = header;
  const limit = payloadLimits[type];
  const payload = message.subarray(header.length);
  return { type, connectionId, deadlineMs, payload: limit === undefined ? payload : payload.subarray(0, limit) };
}

/** What a Connect asks for: `<protocol>/<address>`, split at the first slash. */
export interface ConnectTarget {
  /** `tcp`, or between peers `<clientKey>::tcp`. */
  protocol: string;
  /** `host:port`, IPv6 in brackets. */
  address: string;
}

export function parseConnectTarget(payload: Buffer): ConnectTarget {
  const text = payload.toString("utf8");
  const slash = text.indexOf("/");
  if (slash < 0) throw new TunnelProtocolError("connect without a protocol");
  return { protocol: text.slice(0, slash), address: text.slice(slash + 1) };
}

/** Checks the payload of AddClient and RemoveClient, `<clientKey>/<sessionKey>`; Go peers drop the session otherwise. */
export function parseClientAnnouncement(payload: Buffer): { clientKey: string; sessionKey: bigint } {
  const text = payload.toString("utf8");
  const match = /^([^/]*)\/(-?\d{1,19})$/.exec(text);
  if (match === null) throw new TunnelProtocolError("client announcement cannot be parsed");
  return { clientKey: match[1]!, sessionKey: BigInt(match[2]!) };
}

/** The connection ids of a SyncConnections payload: little-endian uint64 each. */
export function parseSyncedIds(payload: Buffer): Set<number> {
  if (payload.length % 8 !== 0) throw new TunnelProtocolError("sync payload is not a list of 64-bit ids");
  const ids = new Set<number>();
  for (let offset = 0; offset < payload.length; offset += 8) {
    ids.add(payload.readUInt32LE(offset) + payload.readInt32LE(offset + 4) * 2 ** 32);
  }
  return ids;
}

/** Encodes connection ids for SyncConnections, ascending: receivers merge sorted lists. Ids are the peer's: any safe integer. */
export function encodeSyncedIds(ids: Iterable<number>): Buffer {
  const sorted = [...ids].sort((a, b) => a - b);
  const payload = Buffer.alloc(sorted.length * 8);
  for (const [index, id] of sorted.entries()) {
    const high = Math.floor(id / 2 ** 32);
    payload.writeUInt32LE(id - high * 2 ** 32, index * 8);
    payload.writeInt32LE(high, index * 8 + 4);
  }
  return payload;
}

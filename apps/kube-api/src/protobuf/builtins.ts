import { Reader, Writer, wireTypes } from "@keelson/protocol/etcd";

/** Types whose JSON form is not that of their message. Source: apimachinery meta/v1, api/resource, util/intstr, runtime. */
export interface Builtin {
  encode(value: unknown): Buffer;
  decode(bytes: Buffer): unknown;
}

export const builtins: Readonly<Record<string, Builtin>> = {
  Time: {
    encode: encodeTime,
    decode: (bytes) => decodeTime(bytes, (date) => `${date.toISOString().slice(0, 19)}Z`),
  },
  MicroTime: {
    encode: encodeTime,
    decode: (bytes) =>
      decodeTime(bytes, (date, nanos) => {
        const micros = String(Math.floor(nanos / 1_000)).padStart(6, "0");
        return `${date.toISOString().slice(0, 19)}.${micros}Z`;
      }),
  },
  Quantity: {
    encode: (value) => bytesField(1, Buffer.from(String(value))),
    decode: (bytes) => readBytes(bytes, 1).toString("utf8") || "0",
  },
  IntOrString: { encode: encodeIntOrString, decode: decodeIntOrString },
  RawExtension: { encode: encodeJsonBytes, decode: decodeJsonBytes },
  FieldsV1: { encode: encodeJsonBytes, decode: decodeJsonBytes },
};

/** Seconds and nanoseconds; the zero time is an empty message. */
function encodeTime(value: unknown): Buffer {
  const text = String(value);
  const ms = Date.parse(text);
  if (Number.isNaN(ms)) return Buffer.alloc(0);
  const fraction = /\.(\d{1,9})/.exec(text)?.[1] ?? "";
  const writer = new Writer(16);
  writer.uint32((1 << 3) | wireTypes.varint);
  writer.int64(Math.floor(ms / 1_000));
  writer.uint32((2 << 3) | wireTypes.varint);
  writer.int64(Number(fraction.padEnd(9, "0")));
  return writer.finish();
}

function decodeTime(bytes: Buffer, format: (date: Date, nanos: number) => string): string | undefined {
  const { 1: seconds, 2: nanos = 0 } = readVarints(bytes);
  if (seconds === undefined) return undefined;
  const date = new Date(seconds * 1_000);
  return Number.isNaN(date.getTime()) ? undefined : format(date, nanos);
}

const intOrStringTypes = { int: 0, string: 1 } as const;

function encodeIntOrString(value: unknown): Buffer {
  const writer = new Writer(32);
  const isNumber = typeof value === "number";
  writer.uint32((1 << 3) | wireTypes.varint);
  writer.uint32(isNumber ? intOrStringTypes.int : intOrStringTypes.string);
  writer.uint32((2 << 3) | wireTypes.varint);
  writer.int64(isNumber ? value : 0);
  writer.uint32((3 << 3) | wireTypes.bytes);
  writer.string(isNumber ? "" : String(value));
  return writer.finish();
}

function decodeIntOrString(bytes: Buffer): number | string {
  const { 1: type, 2: int = 0 } = readVarints(bytes);
  return type === intOrStringTypes.string ? readBytes(bytes, 3).toString("utf8") : int;
}

function encodeJsonBytes(value: unknown): Buffer {
  return bytesField(1, Buffer.from(JSON.stringify(value)));
}

function decodeJsonBytes(bytes: Buffer): unknown {
  const raw = readBytes(bytes, 1);
  if (raw.length === 0) return undefined;
  try {
    return JSON.parse(raw.toString("utf8")) as unknown;
  } catch {
    return undefined; // a nested object in another form than JSON; nothing that is served holds one
  }
}

export function bytesField(number: number, bytes: Uint8Array): Buffer {
  const writer = new Writer(bytes.length + 8);
  writer.uint32((number << 3) | wireTypes.bytes);
  writer.bytes(bytes);
  return writer.finish();
}

/** The last value of a length-delimited field; empty when there is none. */
export function readBytes(bytes: Uint8Array, number: number): Buffer {
  const reader = new Reader(bytes);
  let found: Buffer = Buffer.alloc(0);
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    if (tag === ((number << 3) | wireTypes.bytes)) found = reader.bytes();
    else reader.skip(tag & 7);
  }
  return found;
}

function readVarints(bytes: Uint8Array): Record<number, number | undefined> {
  const reader = new Reader(bytes);
  const result: Record<number, number> = {};
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    if ((tag & 7) === wireTypes.varint) result[tag >>> 3] = reader.int64();
    else reader.skip(tag & 7);
  }
  return result;
}

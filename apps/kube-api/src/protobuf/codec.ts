import { DecodeError, Reader, Writer, wireTypes } from "@keelson/protocol/etcd";
import { isMap } from "../patch/merge-patch.ts";
import { apiSchema } from "../schema/kinds.ts";
import { type Field, type Message, scalarTypes } from "../schema/message.ts";
import { builtins } from "./builtins.ts";

/**
 * Objects in the protobuf form of the Kubernetes API, by the schema. JSON shape in and out; what is not in the schema is left
 * out. So is a value of another type than the schema's: requests are checked for that, but an earlier release or another hand
 * may have stored one, and a list must not be lost to all for one object of it.
 */

export function encodeMessage(message: Message, object: Readonly<Record<string, unknown>>): Buffer {
  const writer = new Writer();
  writeMessage(writer, message, object);
  return writer.finish();
}

function writeMessage(writer: Writer, message: Message, object: Readonly<Record<string, unknown>>): void {
  for (const field of message.fields) {
    const value = field.isInline ? object : object[field.name];
    if (value === undefined || value === null) continue;
    if (field.isMap) {
      if (!isMap(value)) continue;
      for (const [key, item] of Object.entries(value)) writeEntry(writer, field, key, item);
    } else if (field.isList) {
      if (!Array.isArray(value)) continue;
      for (const item of value) writeField(writer, field, item, field.number);
    } else {
      writeField(writer, field, value, field.number);
    }
  }
}

function writeEntry(writer: Writer, field: Field, key: string, value: unknown): void {
  const entry = new Writer();
  entry.uint32((1 << 3) | wireTypes.bytes);
  entry.string(key);
  writeField(entry, field, value, 2);
  writer.uint32((field.number << 3) | wireTypes.bytes);
  writer.bytes(entry.finish());
}

function writeField(writer: Writer, field: Field, value: unknown, number: number): void {
  if (isVarint(field.type)) {
    writer.uint32((number << 3) | wireTypes.varint);
    const integer = Math.trunc(Number(value));
    writer.int64(Number.isFinite(integer) ? integer : 0);
    return;
  }
  writer.uint32((number << 3) | wireTypes.bytes);
  if (field.type === "string") writer.string(String(value));
  else if (field.type === "bytes") writer.bytes(Buffer.from(String(value), "base64"));
  else writer.bytes(encodeNested(field, value));
}

function encodeNested(field: Field, value: unknown): Buffer {
  const builtin = builtins[field.type];
  if (builtin !== undefined) return builtin.encode(value);
  const message = messageOf(field);
  // Extra values are a list in JSON and a message with one list on the wire.
  if (Array.isArray(value)) return encodeMessage(message, { items: value });
  return encodeMessage(message, isMap(value) ? value : {});
}

/** Throws {@link DecodeError} when the bytes are not such a message. */
export function decodeMessage(message: Message, bytes: Uint8Array): Record<string, unknown> {
  const object: Record<string, unknown> = {};
  readMessage(message, bytes, object);
  return object;
}

function readMessage(message: Message, bytes: Uint8Array, object: Record<string, unknown>): void {
  const reader = new Reader(bytes);
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    const field = message.byNumber.get(tag >>> 3);
    const wireType = tag & 7;
    if (field === undefined) {
      reader.skip(wireType);
      continue;
    }
    const expected = isVarint(field.type) && !field.isMap ? wireTypes.varint : wireTypes.bytes;
    if (wireType !== expected)
      throw new DecodeError(`${message.name}.${field.name} has wire type ${wireType}`, reader.at);
    readField(reader, field, object);
  }
}

function readField(reader: Reader, field: Field, object: Record<string, unknown>): void {
  if (field.isInline) {
    readMessage(messageOf(field), reader.bytes(), object);
  } else if (field.isMap) {
    const [key, value] = readEntry(reader.bytes(), field);
    object[field.name] ??= {};
    if (key !== "__proto__") (object[field.name] as Record<string, unknown>)[key] = value;
  } else if (field.isList) {
    object[field.name] ??= [];
    (object[field.name] as unknown[]).push(readValue(reader, field));
  } else {
    const value = readValue(reader, field);
    const isZero = value === "" || value === 0 || value === false;
    // The sender writes fields that are not pointers even when they are empty; in JSON they would not appear.
    if (value !== undefined && (!isZero || field.keepsZero)) object[field.name] = value;
  }
}

function readEntry(bytes: Uint8Array, field: Field): [string, unknown] {
  const reader = new Reader(bytes);
  let key = "";
  let value: unknown = isVarint(field.type) ? 0 : field.type === "string" || field.type === "bytes" ? "" : undefined;
  while (reader.at < reader.length) {
    const tag = reader.uint32();
    if (tag === ((1 << 3) | wireTypes.bytes)) key = reader.bytes().toString("utf8");
    else if (tag >>> 3 === 2) value = readValue(reader, field);
    else reader.skip(tag & 7);
  }
  return [key, value];
}

function readValue(reader: Reader, field: Field): unknown {
  switch (field.type) {
    case "string":
      return reader.bytes().toString("utf8");
    case "bytes":
      return reader.bytes().toString("base64");
    case "bool":
      return reader.bool();
    case "int32":
    case "int64":
      return reader.int64();
    default:
      return readNested(field, reader.bytes());
  }
}

function readNested(field: Field, bytes: Buffer): unknown {
  const builtin = builtins[field.type];
  if (builtin !== undefined) return builtin.decode(bytes);
  const object = decodeMessage(messageOf(field), bytes);
  return field.type.endsWith(".ExtraValue") ? (object.items ?? []) : object;
}

function messageOf(field: Field): Message {
  const message = apiSchema().messageOf(field);
  if (message === undefined) throw new RangeError(`the schema has no message ${field.type}`);
  return message;
}

function isVarint(type: string): boolean {
  return scalarTypes.has(type) && type !== "string" && type !== "bytes";
}

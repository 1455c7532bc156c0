import { Writer, wireTypes } from "@keelson/protocol/etcd";
import { apiSchema, messageName } from "../schema/kinds.ts";
import type { Message } from "../schema/message.ts";
import { bytesField, readBytes } from "./builtins.ts";
import { decodeMessage, encodeMessage } from "./codec.ts";

/**
 * The envelope of every protobuf body and stored object: four magic bytes, then runtime.Unknown with the type and the
 * object's bytes. Source: apimachinery pkg/runtime/serializer/protobuf.
 */
export const protobufType = "application/vnd.kubernetes.protobuf";

const magic = Buffer.from("k8s\0");
const typeMetaField = 1;
const rawField = 2;
const listMetadataField = 1;
const listItemsField = 2;

export function isEnveloped(bytes: Uint8Array): boolean {
  return bytes.length >= magic.length && magic.equals(bytes.subarray(0, magic.length));
}

/** The protobuf form of an object or a list of any kind of the schema; undefined for what has none (tables). */
export function encodeEnvelope(object: Readonly<Record<string, unknown>>): Buffer | undefined {
  const apiVersion = String(object.apiVersion ?? "");
  const kind = String(object.kind ?? "");
  const raw = encodeKind(apiVersion, kind, object);
  if (raw === undefined) return undefined;
  const typeMeta = Buffer.concat([bytesField(1, Buffer.from(apiVersion)), bytesField(2, Buffer.from(kind))]);
  return Buffer.concat([
    magic,
    bytesField(typeMetaField, typeMeta),
    bytesField(rawField, raw),
    // contentEncoding and contentType, always written and always empty
    Buffer.from([0x1a, 0, 0x22, 0]),
  ]);
}

function encodeKind(apiVersion: string, kind: string, object: Readonly<Record<string, unknown>>): Buffer | undefined {
  const message = find(apiVersion, kind);
  if (message !== undefined) return encodeMessage(message, object);
  const item = listed(apiVersion, kind, object);
  if (item === undefined) return undefined;
  const writer = new Writer(4_096);
  writer.uint32((listMetadataField << 3) | wireTypes.bytes);
  writer.bytes(encodeMessage(apiSchema().find("meta.ListMeta")!, object.metadata as Record<string, unknown>));
  for (const each of object.items as Record<string, unknown>[]) {
    writer.uint32((listItemsField << 3) | wireTypes.bytes);
    writer.bytes(encodeMessage(item, each));
  }
  return writer.finish();
}

/** The message of a list's items, when the object is a list. */
function listed(apiVersion: string, kind: string, object: Readonly<Record<string, unknown>>): Message | undefined {
  if (!kind.endsWith("List") || !Array.isArray(object.items)) return undefined;
  return find(apiVersion, kind.slice(0, -"List".length));
}

/** Reads an enveloped object. Throws DecodeError on broken bytes, RangeError on a kind that is not in the schema. */
export function decodeEnvelope(bytes: Uint8Array): Record<string, unknown> {
  const unknown = bytes.subarray(magic.length);
  const typeMeta = readBytes(unknown, typeMetaField);
  const apiVersion = readBytes(typeMeta, 1).toString("utf8");
  const kind = readBytes(typeMeta, 2).toString("utf8");
  const message = find(apiVersion, kind);
  if (message === undefined) throw new RangeError(`${apiVersion}, Kind=${kind} has no protobuf form here`);
  return { apiVersion, kind, ...decodeMessage(message, readBytes(unknown, rawField)) };
}

/** One event of a watch: its length in four bytes, then meta.WatchEvent with the enveloped object. */
export function encodeWatchFrame(type: string, object: Readonly<Record<string, unknown>>): Buffer {
  const enveloped = encodeEnvelope(object);
  if (enveloped === undefined) throw new RangeError(`${object.kind} has no protobuf form`);
  const event = Buffer.concat([bytesField(1, Buffer.from(type)), bytesField(2, bytesField(1, enveloped))]);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(event.length);
  return Buffer.concat([length, event]);
}

function find(apiVersion: string, kind: string): Message | undefined {
  const name = messageName(apiVersion, kind);
  return name === undefined ? undefined : apiSchema().find(name);
}

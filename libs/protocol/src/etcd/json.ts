import type { Codec } from "./codec.ts";
import { grpcStatus, RpcError } from "./errors.ts";
import type { Field, Scalar } from "./schema.ts";

/**
 * The JSON gateway's mapping: proto field names, zero values left out, 64-bit integers as strings, bytes as base64, enums
 * by name. Input also takes lowerCamel names, numbers or strings, enum names or numbers; unknown fields are ignored.
 * Source: grpc-gateway v1 as etcd 3.4 configures it (OrigName).
 */
export function toJson<T>(codec: Codec<T>, message: T): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(codec.fields)) {
    const value = (message as Record<string, unknown>)[key];
    if (value === undefined) continue;
    if (field.repeated) {
      const list = value as unknown[];
      if (list.length > 0) result[protoName(key, field)] = list.map((item) => valueToJson(field, item));
    } else if (field.optional || typeof field.type === "function" || !isZero(value)) {
      result[protoName(key, field)] = valueToJson(field, value);
    }
  }
  return result;
}

/** Reads a message from parsed JSON. Throws InvalidArgument on a value of the wrong kind. */
export function fromJson<T>(codec: Codec<T>, json: unknown): T {
  if (typeof json !== "object" || json === null || Array.isArray(json)) throw invalid(codec.name, json);
  const source = json as Record<string, unknown>;
  const message: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(codec.fields)) {
    const value = source[protoName(key, field)] ?? source[key];
    if (value === undefined || value === null) continue;
    if (!field.repeated) message[key] = valueFromJson(field, value, key);
    else if (Array.isArray(value)) message[key] = value.map((item) => valueFromJson(field, item, key));
    else throw invalid(key, value);
  }
  // Encoding and decoding fills in what was left out, in the one place that knows the defaults.
  return codec.decode(codec.encode(message as never));
}

/** A field's name in its proto file. */
export function protoName(key: string, field: Field): string {
  return field.protoName ?? key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

function valueToJson(field: Field, value: unknown): unknown {
  if (typeof field.type === "function") return toJson(field.type() as Codec<unknown>, value);
  switch (field.type) {
    case "bytes":
      return Buffer.from(value as Uint8Array).toString("base64");
    case "int64":
    case "counter":
    case "lease":
    case "uint64":
      return String(value);
    case "enum":
      return field.names?.[value as number] ?? value;
    default:
      return value;
  }
}

function valueFromJson(field: Field, value: unknown, key: string): unknown {
  if (typeof field.type === "function") return fromJson(field.type() as Codec<unknown>, value);
  return scalarFromJson(field.type, field, value, key);
}

function scalarFromJson(type: Scalar, field: Field, value: unknown, key: string): unknown {
  switch (type) {
    case "string":
      if (typeof value === "string") return value;
      break;
    case "bool":
      if (typeof value === "boolean") return value;
      break;
    case "bytes":
      if (typeof value === "string" && /^[A-Za-z0-9+/_-]*={0,2}$/.test(value)) return Buffer.from(value, "base64");
      break;
    case "enum": {
      const index = typeof value === "string" ? (field.names?.indexOf(value) ?? -1) : value;
      if (typeof index === "number" && Number.isInteger(index) && index >= 0) return index;
      break;
    }
    case "lease":
    case "uint64":
      if (isInteger(value)) return BigInt(value);
      break;
    default:
      if (isInteger(value) && Math.abs(Number(value)) <= 2 ** 63) return Math.min(Number(value), largestInt64);
  }
  throw invalid(key, value);
}

/** The largest number that int64 holds; the next one is 2^63, which would be sent as the smallest. */
const largestInt64 = 2 ** 63 - 1_024;

function isInteger(value: unknown): value is string | number {
  return typeof value === "number" ? Number.isInteger(value) : typeof value === "string" && /^-?\d{1,20}$/.test(value);
}

function isZero(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === 0 || value === 0n || value === false || value === "";
}

function invalid(what: string, value: unknown): RpcError {
  const shown = JSON.stringify(value)?.slice(0, 40);
  return new RpcError(grpcStatus.invalidArgument, `json: cannot unmarshal ${shown} into ${what}`);
}

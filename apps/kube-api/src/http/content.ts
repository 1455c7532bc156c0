import type { IncomingMessage } from "node:http";
import { DecodeError } from "@keelson/protocol/etcd";
import { decodeEnvelope, isEnveloped, protobufType } from "../protobuf/envelope.ts";
import { apiErrors } from "./api-error.ts";

/** Bodies above this are refused, as in kube-apiserver (3 MiB). */
const maxBodyBytes = 3 * 1024 * 1024;

/** The parsed body of a request: JSON, YAML or protobuf by Content-Type; undefined when there is none. */
export async function readObject(request: IncomingMessage): Promise<unknown> {
  const bytes = await readBytes(request);
  if (bytes.length === 0) return undefined;
  const type = mediaType(request.headers["content-type"] ?? "application/json");
  if (type.endsWith("json") || type === "*/*") return parseJson(bytes);
  if (type.endsWith("yaml")) return parseYaml(bytes);
  if (type === protobufType) return parseProtobuf(bytes);
  throw apiErrors.unsupportedMediaType(type);
}

async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    if (size > maxBodyBytes) throw apiErrors.tooLarge();
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString("utf8"));
  } catch (error) {
    throw apiErrors.badRequest(`the body is not valid JSON: ${(error as Error).message}`);
  }
}

async function parseYaml(bytes: Buffer): Promise<unknown> {
  const { parse } = await import("yaml");
  try {
    return parse(bytes.toString("utf8"));
  } catch (error) {
    throw apiErrors.badRequest(`the body is not valid YAML: ${(error as Error).message}`);
  }
}

function parseProtobuf(bytes: Buffer): unknown {
  if (!isEnveloped(bytes))
    throw apiErrors.badRequest("the body is not a protobuf object: it does not begin with k8s\\0");
  try {
    return decodeEnvelope(bytes);
  } catch (error) {
    if (!(error instanceof DecodeError || error instanceof RangeError)) throw error;
    throw apiErrors.badRequest(`the body is not a valid protobuf object: ${error.message}`);
  }
}

/** `application/json; charset=utf-8` without its parameters. */
export function mediaType(header: string): string {
  return header.split(";")[0]!.trim().toLowerCase();
}

/** How bytes are written. */
export type Encoding = "json" | "protobuf";

/** How the client wants objects back. */
export interface Format {
  encoding: Encoding;
  as: "object" | "table" | "partial";
}

/**
 * Picks the format from the Accept header: the first entry that can be served. Tables and PartialObjectMetadata are
 * parameters of the media type. Throws 406 when nothing fits.
 */
export function negotiate(accept: string | undefined): Format {
  if (accept === undefined || accept.trim() === "") return { encoding: "json", as: "object" };
  for (const entry of accept.split(",")) {
    const encoding = encodingOf(mediaType(entry));
    if (encoding === undefined) continue;
    const as = /;\s*as=([A-Za-z]+)/.exec(entry)?.[1];
    if (as === undefined) return { encoding, as: "object" };
    if (as === "Table" && encoding === "json") return { encoding, as: "table" };
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList") return { encoding, as: "partial" };
  }
  throw apiErrors.notAcceptable(`application/json, ${protobufType}`);
}

function encodingOf(type: string): Encoding | undefined {
  if (type === protobufType) return "protobuf";
  return type === "application/json" || type === "*/*" || type === "application/*" ? "json" : undefined;
}

/** The encoding of errors, which are answered whatever the client accepts. */
export function errorEncoding(accept: string | undefined): Encoding {
  return encodingOf(mediaType(accept?.split(",")[0] ?? "")) ?? "json";
}

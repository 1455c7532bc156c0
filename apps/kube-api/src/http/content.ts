import type { IncomingMessage } from "node:http";
import { apiErrors } from "./api-error.ts";

/** Bodies above this are refused, as in kube-apiserver (3 MiB). */
const maxBodyBytes = 3 * 1024 * 1024;

/** The parsed body of a request: JSON or YAML by Content-Type; undefined when there is none. */
export async function readObject(request: IncomingMessage): Promise<unknown> {
  const bytes = await readBytes(request);
  if (bytes.length === 0) return undefined;
  const type = mediaType(request.headers["content-type"] ?? "application/json");
  if (type.endsWith("json") || type === "*/*") return parseJson(bytes);
  if (type.endsWith("yaml")) return parseYaml(bytes);
  throw apiErrors.unsupportedMediaType(type);
}

export async function readBytes(request: IncomingMessage): Promise<Buffer> {
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

/** `application/json; charset=utf-8` without its parameters. */
export function mediaType(header: string): string {
  return header.split(";")[0]!.trim().toLowerCase();
}

/** How the client wants objects back. */
export type Representation = "json" | "table" | "partial";

/**
 * Picks the representation from the Accept header: the first entry that can be served. Tables and PartialObjectMetadata
 * are parameters of `application/json`. Throws 406 when nothing fits.
 */
export function negotiate(accept: string | undefined): Representation {
  if (accept === undefined || accept.trim() === "") return "json";
  for (const entry of accept.split(",")) {
    const type = mediaType(entry);
    if (type !== "application/json" && type !== "*/*" && type !== "application/*") continue;
    const as = /;\s*as=([A-Za-z]+)/.exec(entry)?.[1];
    if (as === undefined) return "json";
    if (as === "Table") return "table";
    if (as === "PartialObjectMetadata" || as === "PartialObjectMetadataList") return "partial";
  }
  throw apiErrors.notAcceptable("application/json");
}

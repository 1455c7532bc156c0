import type { ServerResponse } from "node:http";
import { type ApiObject, apiVersionOf, type Kind } from "../kinds/kind.ts";
import { inVersion } from "../kinds/versions.ts";
import { encodeEnvelope, protobufType } from "../protobuf/envelope.ts";
import { renderTable } from "../table/render.ts";
import type { ApiError } from "./api-error.ts";
import type { Encoding, Format } from "./content.ts";

export function sendJson(response: ServerResponse, status: number, body: unknown, contentType?: string): void {
  sendBytes(response, status, Buffer.from(`${JSON.stringify(body)}\n`), contentType ?? "application/json");
}

/** Sends an object of the API; JSON when it has no protobuf form. */
export function sendObject(response: ServerResponse, status: number, body: object, encoding: Encoding): void {
  const enveloped = encoding === "protobuf" ? encodeEnvelope(body as Record<string, unknown>) : undefined;
  if (enveloped === undefined) sendJson(response, status, body);
  else sendBytes(response, status, enveloped, protobufType);
}

export function sendBytes(response: ServerResponse, status: number, bytes: Buffer, contentType: string): void {
  response.writeHead(status, {
    "content-type": contentType,
    "content-length": bytes.length,
    "cache-control": "no-cache, private",
  });
  response.end(bytes);
}

export function sendText(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache, private",
  });
  response.end(text);
}

/** Answers with a Status; a response that has begun can only be cut off. */
export function sendError(response: ServerResponse, error: ApiError, encoding: Encoding = "json"): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const retryAfter = error.details?.retryAfterSeconds;
  if (retryAfter !== undefined) response.setHeader("retry-after", retryAfter);
  sendObject(response, error.code, error.toStatus(), encoding);
}

/** One object as the client wants it. */
export function represent(
  object: ApiObject,
  kind: Kind,
  version: string,
  as: Format["as"],
  nowMs: number,
  includeObject: string | null,
): object {
  const versioned = inVersion(object, kind, version);
  if (as === "table") {
    return renderTable(kind, [versioned], { resourceVersion: object.metadata.resourceVersion }, nowMs, includeObject);
  }
  return as === "partial" ? partial(versioned) : versioned;
}

/** A list as the client wants it. */
export function representList(
  items: readonly ApiObject[],
  kind: Kind,
  version: string,
  as: Format["as"],
  metadata: Record<string, unknown>,
  nowMs: number,
  includeObject: string | null,
): object {
  const versioned = items.map((item) => inVersion(item, kind, version));
  if (as === "table") return renderTable(kind, versioned, metadata, nowMs, includeObject);
  if (as === "partial") {
    return {
      kind: "PartialObjectMetadataList",
      apiVersion: "meta.k8s.io/v1",
      metadata,
      items: versioned.map(partial),
    };
  }
  return {
    kind: `${kind.kind}List`,
    apiVersion: apiVersionOf(kind.group, version),
    metadata,
    // Items of a typed list carry no type of their own, as in kube-apiserver.
    items: versioned.map(({ kind: _kind, apiVersion: _apiVersion, ...rest }) => rest),
  };
}

export function partial(object: ApiObject): Record<string, unknown> {
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}

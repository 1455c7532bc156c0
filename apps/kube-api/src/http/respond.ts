import type { ServerResponse } from "node:http";
import { type ApiObject, apiVersionOf, type Kind } from "../kinds/kind.ts";
import { renderTable } from "../table/render.ts";
import type { ApiError } from "./api-error.ts";
import type { Representation } from "./content.ts";

export function sendJson(
  response: ServerResponse,
  status: number,
  body: unknown,
  contentType = "application/json",
): void {
  const bytes = Buffer.from(`${JSON.stringify(body)}\n`);
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
export function sendError(response: ServerResponse, error: ApiError): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  const retryAfter = error.details?.retryAfterSeconds;
  if (retryAfter !== undefined) response.setHeader("retry-after", retryAfter);
  sendJson(response, error.code, error.toStatus());
}

/** An object in the version it was asked for. */
export function inVersion(object: ApiObject, kind: Kind, version: string): ApiObject {
  return version === kind.versions[0] ? object : { ...object, apiVersion: apiVersionOf(kind.group, version) };
}

/** One object as the client wants it. */
export function represent(
  object: ApiObject,
  kind: Kind,
  version: string,
  representation: Representation,
  nowMs: number,
  includeObject: string | null,
): unknown {
  const versioned = inVersion(object, kind, version);
  if (representation === "table") {
    return renderTable(kind, [versioned], { resourceVersion: object.metadata.resourceVersion }, nowMs, includeObject);
  }
  return representation === "partial" ? partial(versioned) : versioned;
}

/** A list as the client wants it. */
export function representList(
  items: readonly ApiObject[],
  kind: Kind,
  version: string,
  representation: Representation,
  metadata: Record<string, unknown>,
  nowMs: number,
  includeObject: string | null,
): unknown {
  const versioned = items.map((item) => inVersion(item, kind, version));
  if (representation === "table") return renderTable(kind, versioned, metadata, nowMs, includeObject);
  if (representation === "partial") {
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

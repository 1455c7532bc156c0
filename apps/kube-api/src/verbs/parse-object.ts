import { ApiError, apiErrors } from "../http/api-error.ts";
import { type ApiObject, apiVersionOf } from "../kinds/kind.ts";
import { toStored } from "../kinds/versions.ts";
import { isMap } from "../patch/merge-patch.ts";
import { type Conformed, conform, TypeMismatch } from "../schema/conform.ts";
import { messageOf } from "../schema/kinds.ts";
import type { Message } from "../schema/message.ts";
import type { Call } from "./call.ts";

type Target = Pick<Call, "info" | "kind">;

/** An object as a client sent it, with what of it was not understood. */
export interface ParsedObject {
  object: ApiObject;
  /** Paths of fields that the kind does not have, and that were left out. */
  unknown: readonly string[];
}

/** Checks that a body is an object of the kind in the version of the URL, and leaves out what the kind does not have. Throws 400. */
export function parseBody(body: unknown, { info, kind }: Target): ParsedObject {
  if (!isMap(body)) throw apiErrors.badRequest("the request body must be an object");
  const apiVersion = apiVersionOf(kind.group, info.version);
  if ((body.kind ?? kind.kind) !== kind.kind || (body.apiVersion ?? apiVersion) !== apiVersion) {
    throw apiErrors.badRequest(
      `the object provided is ${body.apiVersion}, Kind=${body.kind}; this path takes ${apiVersion}, Kind=${kind.kind}`,
    );
  }
  const { object, unknown } = conformBody(body, kind.kind, info.version, messageOf(kind, info.version));
  return { object: { metadata: {}, ...object, apiVersion, kind: kind.kind } as ApiObject, unknown };
}

/** The same, ready to be stored: in the stored version, in the namespace of the URL. */
export function parseObject(body: unknown, { info, kind }: Target): ParsedObject {
  const { object, unknown } = parseBody(body, { info, kind });
  const {
    managedFields: _,
    namespace,
    ...rest
  } = object.metadata as typeof object.metadata & {
    managedFields?: unknown;
  };
  if (kind.namespaced && namespace !== undefined && namespace !== "" && namespace !== info.namespace) {
    throw apiErrors.badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  const isPlaced = kind.namespaced && info.namespace !== undefined;
  const metadata = isPlaced ? { ...rest, namespace: info.namespace } : rest;
  return { object: toStored({ ...object, metadata } as ApiObject, kind), unknown };
}

/** {@link conform}, with the answer that a client gets for a wrong type (400). */
export function conformBody(
  body: Record<string, unknown>,
  kind: string,
  version: string,
  message: Message | undefined,
): Conformed {
  if (message === undefined) return { object: body, unknown: [] };
  try {
    return conform(body, message);
  } catch (error) {
    if (!(error instanceof TypeMismatch)) throw error;
    const text = `${kind} in version "${version}" cannot be handled as a ${kind}: ${error.message}`;
    throw new ApiError(400, "BadRequest", text, undefined, error);
  }
}

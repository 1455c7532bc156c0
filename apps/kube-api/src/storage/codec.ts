import { ApiError } from "../http/api-error.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import { toStored } from "../kinds/versions.ts";
import { decodeEnvelope, isEnveloped } from "../protobuf/envelope.ts";

/**
 * Parses a stored value, JSON or the protobuf that kube-apiserver stores by default, in whatever version it was written;
 * `revision` becomes the object's resource version.
 */
export function decodeObject(kind: Kind, key: string, value: Buffer, revision: number): ApiObject {
  let object: ApiObject;
  try {
    object = (isEnveloped(value) ? decodeEnvelope(value) : JSON.parse(value.toString("utf8"))) as ApiObject;
  } catch (cause) {
    throw new ApiError(500, "InternalError", `${key} does not hold an object that can be read`, undefined, cause);
  }
  object.metadata.resourceVersion = String(revision);
  return toStored(object, kind);
}

/** What is stored: the object without the resource version, which the store itself gives. */
export function encodeObject(object: ApiObject): Buffer {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return Buffer.from(`${JSON.stringify({ ...object, metadata })}\n`);
}

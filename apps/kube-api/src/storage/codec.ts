import { ApiError } from "../http/api-error.ts";
import type { ApiObject } from "../kinds/kind.ts";

const protobufMagic = Buffer.from("k8s\0");

/** Parses a stored value; `revision` becomes the object's resource version. */
export function decodeObject(key: string, value: Buffer, revision: number): ApiObject {
  if (value.subarray(0, 4).equals(protobufMagic)) {
    throw new ApiError(
      500,
      "InternalError",
      `${key} is stored as protobuf; run the API server that wrote it with --storage-media-type=application/json once and rewrite it`,
    );
  }
  let object: ApiObject;
  try {
    object = JSON.parse(value.toString("utf8")) as ApiObject;
  } catch (cause) {
    throw new ApiError(500, "InternalError", `${key} does not hold a JSON object`, undefined, cause);
  }
  object.metadata.resourceVersion = String(revision);
  return object;
}

/** What is stored: the object without the resource version, which the store itself gives. */
export function encodeObject(object: ApiObject): Buffer {
  const { resourceVersion: _, ...metadata } = object.metadata;
  return Buffer.from(`${JSON.stringify({ ...object, metadata })}\n`);
}

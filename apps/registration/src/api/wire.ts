import type { RegistrationClient } from "@keelson/protocol/supervisor";
import { KeelsonError } from "@keelson/service";

/** Groups in the certificates of a control plane's own parts. */
export const componentGroups = {
  gateway: "keelson:gateways",
  "kube-api": "keelson:kube-apis",
  datastore: "keelson:datastores",
} as const;

/** A part that can run apart from registration. */
export type ComponentName = keyof typeof componentGroups;

export function isComponentName(value: unknown): value is ComponentName {
  return typeof value === "string" && Object.hasOwn(componentGroups, value);
}

export type Method = keyof RegistrationClient;

/** Path of a method of the internal API. */
export function methodPath(method: string): string {
  return `/v1/registration/${method}`;
}

export const enrolPath = "/v1/enrol";
/** The CA bundles of today, for any component with a certificate. */
export const bundlesPath = "/v1/bundles";
/** No message of this API is larger; a CA exchange is the largest. */
export const maxMessageBytes = 512 * 1024;

/** JSON with byte arrays as `{"$bytes": "<base64>"}`. */
export function encodeMessage(value: unknown): string {
  return JSON.stringify(value ?? null, (_, item: unknown) =>
    item instanceof Uint8Array
      ? { $bytes: Buffer.from(item.buffer, item.byteOffset, item.byteLength).toString("base64") }
      : isBufferJson(item)
        ? { $bytes: Buffer.from(item.data).toString("base64") }
        : item,
  );
}

/** Buffer has a toJSON that runs before a replacer sees it. */
function isBufferJson(item: unknown): item is { type: "Buffer"; data: number[] } {
  return typeof item === "object" && item !== null && "type" in item && item.type === "Buffer" && "data" in item;
}

export function decodeMessage(text: string): unknown {
  try {
    return JSON.parse(text, (_, item: unknown) =>
      typeof item === "object" && item !== null && "$bytes" in item && typeof item.$bytes === "string"
        ? Buffer.from(item.$bytes, "base64")
        : item,
    );
  } catch (cause) {
    throw new KeelsonError("registration/bad-message", "the message is not JSON", { status: 400, cause });
  }
}

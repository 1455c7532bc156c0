import { apiErrors } from "../http/api-error.ts";
import { mediaType, readObject } from "../http/content.ts";
import type { ApiObject } from "../kinds/kind.ts";
import { inVersion } from "../kinds/versions.ts";
import { applyJsonPatch } from "../patch/json-patch.ts";
import { applyMergePatch } from "../patch/merge-patch.ts";
import { applyStrategicMergePatch } from "../patch/strategic-merge-patch.ts";
import { messageOf } from "../schema/kinds.ts";
import type { Message } from "../schema/message.ts";
import { answer } from "./answer.ts";
import { apply } from "./apply.ts";
import type { Call } from "./call.ts";
import { changeObject } from "./change-object.ts";
import { createObject } from "./create-object.ts";
import { reportUnknownFields } from "./field-validation.ts";
import { parseObject } from "./parse-object.ts";

export async function create(call: Call): Promise<void> {
  if (call.info.name !== undefined) throw apiErrors.methodNotAllowed();
  const { object, unknown } = parseObject(await readObject(call.request), call);
  reportUnknownFields(call, unknown);
  answer(call, 201, await createObject(call, object));
}

export async function update(call: Call): Promise<void> {
  const { object, unknown } = parseObject(await readObject(call.request), call);
  reportUnknownFields(call, unknown);
  checkName(call, object);
  const { uid, resourceVersion } = object.metadata;
  const preconditions = {
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  answer(call, 200, await changeObject(call, preconditions, () => object));
}

export async function patch(call: Call): Promise<void> {
  const { info, kind, request } = call;
  const type = mediaType(request.headers["content-type"] ?? "");
  const body = await readObject(request);
  if (type === "application/apply-patch+yaml") return apply(call, body);
  const transform = patchers[type];
  if (transform === undefined) throw apiErrors.unsupportedMediaType(type);
  const expected = (body as { metadata?: { resourceVersion?: string } } | undefined)?.metadata?.resourceVersion;
  const preconditions = typeof expected === "string" ? { resourceVersion: expected } : {};
  const written = await changeObject(call, preconditions, (current) => {
    const patched = transform(inVersion(current, kind, info.version), body, messageOf(kind, info.version));
    const { object, unknown } = parseObject(patched, call);
    reportUnknownFields(call, unknown);
    checkName(call, object);
    return object;
  });
  answer(call, 200, written);
}

function checkName({ info }: Call, { metadata }: ApiObject): void {
  if (metadata.name === info.name) return;
  throw apiErrors.badRequest(
    `the name of the object (${metadata.name ?? ""}) does not match the name on the URL (${info.name})`,
  );
}

const patchers: Record<string, (current: ApiObject, patch: unknown, message: Message | undefined) => unknown> = {
  "application/json-patch+json": applyJsonPatch,
  "application/merge-patch+json": applyMergePatch,
  "application/strategic-merge-patch+json": applyStrategicMergePatch,
};

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
import { validateFields } from "./field-validation.ts";
import { parseObject } from "./prepare.ts";

export async function create(call: Call): Promise<void> {
  const { info, kind } = call;
  if (info.name !== undefined) throw apiErrors.methodNotAllowed();
  const body = await readObject(call.request);
  const parsed = parseObject(body, kind, info.version, info.namespace);
  validateFields(call, body);
  answer(call, 201, await createObject(call, parsed));
}

export async function update(call: Call): Promise<void> {
  const { info, kind } = call;
  const body = await readObject(call.request);
  const parsed = parseObject(body, kind, info.version, info.namespace);
  validateFields(call, body);
  if (parsed.metadata.name !== info.name) {
    throw apiErrors.badRequest("the name of the object does not match the name on the URL");
  }
  const { uid, resourceVersion } = parsed.metadata;
  const preconditions = {
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  answer(call, 200, await changeObject(call, preconditions, () => parsed));
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
    validateFields(call, patched);
    return parseObject(patched, kind, info.version, info.namespace);
  });
  answer(call, 200, written);
}

const patchers: Record<string, (current: ApiObject, patch: unknown, message: Message | undefined) => unknown> = {
  "application/json-patch+json": applyJsonPatch,
  "application/merge-patch+json": applyMergePatch,
  "application/strategic-merge-patch+json": applyStrategicMergePatch,
};

import { apiErrors } from "../http/api-error.ts";
import { isMap } from "../patch/merge-patch.ts";
import { apiSchema, messageOf } from "../schema/kinds.ts";
import type { Field, Message } from "../schema/message.ts";
import type { Call } from "./call.ts";

/** Errors beyond this many are not listed. */
const maxListed = 10;

/**
 * `fieldValidation=Strict` refuses an object with fields that its kind does not have, `Warn` says so in a header; without
 * it nothing is checked. Unknown fields are stored as they came. Source: apiserver field validation.
 */
export function validateFields({ info, kind, response }: Call, object: unknown): void {
  const mode = info.query.get("fieldValidation");
  const message = messageOf(kind, info.version);
  if ((mode !== "Strict" && mode !== "Warn") || message === undefined || !isMap(object)) return;
  const unknown: string[] = [];
  collect(object, message, "", unknown);
  const problems = unknown.filter((path) => path !== "apiVersion" && path !== "kind").slice(0, maxListed);
  if (problems.length === 0) return;
  const texts = problems.map((path) => `unknown field "${path}"`);
  if (mode === "Warn") {
    response.setHeader(
      "warning",
      texts.map((text) => `299 - ${JSON.stringify(text)}`),
    );
    return;
  }
  throw apiErrors.badRequest(
    `${kind.kind} in version "${info.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${texts.join(", ")}`,
  );
}

function collect(object: Record<string, unknown>, message: Message, path: string, unknown: string[]): void {
  for (const [name, value] of Object.entries(object)) {
    const at = path === "" ? name : `${path}.${name}`;
    const field = apiSchema().fieldOf(message, name);
    if (field === undefined) unknown.push(at);
    else collectValue(value, field, at, unknown);
  }
}

function collectValue(value: unknown, field: Field, path: string, unknown: string[]): void {
  const message = apiSchema().messageOf(field);
  if (message === undefined) return;
  if (field.isMap && isMap(value)) {
    for (const [key, item] of Object.entries(value)) if (isMap(item)) collect(item, message, `${path}.${key}`, unknown);
  } else if (field.isList && Array.isArray(value)) {
    for (const [index, item] of value.entries()) if (isMap(item)) collect(item, message, `${path}[${index}]`, unknown);
  } else if (isMap(value)) {
    collect(value, message, path, unknown);
  }
}

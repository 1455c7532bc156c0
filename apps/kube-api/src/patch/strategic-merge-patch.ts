import { apiErrors } from "../http/api-error.ts";
import { apiSchema } from "../schema/kinds.ts";
import type { Field, Message } from "../schema/message.ts";
import { isMap } from "./merge-patch.ts";

/**
 * Strategic merge patch: like a merge patch, but lists with a merge key are merged entry by entry, and directives
 * (`$patch`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`, `$retainKeys`) steer it. Keys come from the schema of the
 * kind; without one, lists are replaced.
 * Source: apimachinery pkg/util/strategicpatch.
 */
export function applyStrategicMergePatch(target: unknown, patch: unknown, message: Message | undefined): unknown {
  return mergeMap(isMap(target) ? target : {}, asMap(patch), message);
}

function asMap(value: unknown): Record<string, unknown> {
  if (!isMap(value)) throw apiErrors.badRequest("a strategic merge patch must be an object");
  return value;
}

function mergeMap(
  target: Record<string, unknown>,
  patch: Record<string, unknown>,
  message: Message | undefined,
): Record<string, unknown> {
  const directive = patch.$patch;
  if (directive === "delete") return {};
  if (directive === "replace") return withoutDirectives(patch);
  if (directive !== undefined && directive !== "merge") {
    throw apiErrors.badRequest(`unknown $patch directive ${JSON.stringify(directive)}`);
  }
  const result: Record<string, unknown> = { ...target };
  const retained = patch.$retainKeys;
  if (Array.isArray(retained)) {
    for (const key of Object.keys(result)) if (!retained.includes(key)) delete result[key];
  }
  for (const [key, value] of Object.entries(patch)) {
    if (key.startsWith("$") || key === "__proto__") continue;
    const field = fieldOf(message, key);
    if (value === null) delete result[key];
    else if (isMap(value)) result[key] = mergeMap(isMap(result[key]) ? result[key] : {}, value, messageOf(field));
    else if (Array.isArray(value)) result[key] = mergeList(result[key], value, field);
    else result[key] = value;
  }
  for (const [key, value] of Object.entries(patch)) {
    const removal = /^\$deleteFromPrimitiveList\/(.+)$/.exec(key)?.[1];
    if (removal !== undefined && Array.isArray(result[removal]) && Array.isArray(value)) {
      result[removal] = (result[removal] as unknown[]).filter((item) => !value.includes(item));
    }
    const ordered = /^\$setElementOrder\/(.+)$/.exec(key)?.[1];
    if (ordered !== undefined && Array.isArray(result[ordered]) && Array.isArray(value)) {
      result[ordered] = reorder(result[ordered] as unknown[], value, fieldOf(message, ordered)?.mergeKey);
    }
  }
  return result;
}

function mergeList(target: unknown, patch: readonly unknown[], field: Field | undefined): unknown[] {
  const existing = Array.isArray(target) ? (target as unknown[]) : [];
  if (patch.some((item) => isMap(item) && item.$patch === "replace")) {
    return patch.filter((item) => !(isMap(item) && item.$patch === "replace" && Object.keys(item).length === 1));
  }
  const mergeKey = field?.mergeKey;
  if (mergeKey === "") return [...new Set([...existing, ...patch])];
  if (mergeKey === undefined) return structuredClone([...patch]);
  let result = [...existing];
  for (const item of patch) {
    const entry = asMap(item);
    const id = entry[mergeKey];
    if (id === undefined)
      throw apiErrors.badRequest(`map: ${JSON.stringify(entry)} does not contain declared merge key: ${mergeKey}`);
    const at = result.findIndex((candidate) => isMap(candidate) && candidate[mergeKey] === id);
    if (entry.$patch === "delete")
      result = result.filter((candidate) => !(isMap(candidate) && candidate[mergeKey] === id));
    else if (at < 0) result.push(withoutDirectives(entry));
    else result[at] = mergeMap(result[at] as Record<string, unknown>, entry, messageOf(field));
  }
  return result;
}

/** Entries named in `order` come in that order; the others keep their places before the next named one. */
function reorder(list: readonly unknown[], order: readonly unknown[], mergeKey: string | undefined): unknown[] {
  const identity = (item: unknown): unknown => (mergeKey && isMap(item) ? item[mergeKey] : item);
  const rank = new Map(order.map((item, index) => [identity(item), index]));
  const named = list.filter((item) => rank.has(identity(item)));
  named.sort((a, b) => rank.get(identity(a))! - rank.get(identity(b))!);
  let next = 0;
  return list.map((item) => (rank.has(identity(item)) ? named[next++] : item));
}

function fieldOf(message: Message | undefined, name: string): Field | undefined {
  return message === undefined ? undefined : apiSchema().fieldOf(message, name);
}

/** The message of the values of a field; the values of a map have no fields of their own to know. */
function messageOf(field: Field | undefined): Message | undefined {
  return field === undefined || field.isMap ? undefined : apiSchema().messageOf(field);
}

function withoutDirectives(value: unknown): Record<string, unknown> {
  const clean = (inner: unknown): unknown => {
    if (Array.isArray(inner)) return inner.map(clean);
    if (!isMap(inner)) return inner;
    return Object.fromEntries(
      Object.entries(inner)
        .filter(([key, item]) => !key.startsWith("$") && item !== null)
        .map(([key, item]) => [key, clean(item)]),
    );
  };
  return clean(value) as Record<string, unknown>;
}

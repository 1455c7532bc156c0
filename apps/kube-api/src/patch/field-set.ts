import { apiSchema } from "../schema/kinds.ts";
import type { Field, Message } from "../schema/message.ts";
import { isMap } from "./merge-patch.ts";

/**
 * Sets of fields as server-side apply counts them. A path is a list of elements in the spelling of FieldsV1: `f:name` for a
 * field or map key, `k:{…}` for the entry of a list with these keys, `v:…` for a value of a set; a path that ends in `.` is
 * the entry itself. Source: structured-merge-diff fieldpath.
 */
export type FieldPath = readonly string[];

/** Paths by their joined text. */
export type FieldSet = ReadonlyMap<string, FieldPath>;

const separator = "\n";
/** What names an object, or the server writes, is nobody's. */
const unowned = new Set(["f:apiVersion", "f:kind"]);
const unownedMetadata = new Set(
  ["name", "namespace", "uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"].map(
    (name) => `f:${name}`,
  ),
);

/** Every field that an object sets. */
export function fieldsOf(object: Record<string, unknown>, message: Message | undefined): FieldSet {
  const found = new Map<string, FieldPath>();
  collectMap(object, message, [], found);
  for (const [key, path] of found) {
    if (unowned.has(path[0]!) || (path[0] === "f:metadata" && unownedMetadata.has(path[1]!))) found.delete(key);
  }
  return found;
}

function collectMap(
  object: Record<string, unknown>,
  message: Message | undefined,
  path: FieldPath,
  found: Map<string, FieldPath>,
): void {
  for (const [name, value] of Object.entries(object)) {
    if (value === null || value === undefined) continue;
    const field = message === undefined ? undefined : apiSchema().fieldOf(message, name);
    collectValue(value, field, [...path, `f:${name}`], found);
  }
}

function collectValue(value: unknown, field: Field | undefined, path: FieldPath, found: Map<string, FieldPath>): void {
  const message = messageOf(field);
  if (field?.isMap && isMap(value) && Object.keys(value).length > 0) {
    for (const key of Object.keys(value)) add(found, [...path, `f:${key}`]);
  } else if (field?.isList && field.mergeKey !== undefined && Array.isArray(value)) {
    for (const item of value) {
      const entry = [...path, elementOf(item, field)];
      add(found, field.mergeKey === "" ? entry : [...entry, "."]);
      if (field.mergeKey !== "" && isMap(item)) collectMap(item, message, entry, found);
    }
  } else if (!field?.isList && message !== undefined && isMap(value) && Object.keys(value).length > 0) {
    collectMap(value, message, path, found);
  } else {
    add(found, path);
  }
}

function add(found: Map<string, FieldPath>, path: FieldPath): void {
  found.set(path.join(separator), path);
}

/** The path element of a list's entry. Keys that have a default count with it. */
export function elementOf(item: unknown, field: Field): string {
  if (field.mergeKey === "" || !isMap(item)) return `v:${JSON.stringify(item)}`;
  const defaults: Record<string, unknown> = { protocol: "TCP" };
  const keys = [...field.listKeys].sort().map((key) => [key, item[key] ?? defaults[key]]);
  return `k:${JSON.stringify(Object.fromEntries(keys))}`;
}

function messageOf(field: Field | undefined): Message | undefined {
  return field === undefined ? undefined : apiSchema().messageOf(field);
}

/** The nested JSON in which a set is stored in managedFields. */
export function toFieldsV1(set: FieldSet): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  for (const path of set.values()) {
    let at = root;
    for (const element of path) {
      at[element] ??= {};
      at = at[element] as Record<string, unknown>;
    }
  }
  return root;
}

export function fromFieldsV1(fields: unknown): FieldSet {
  const found = new Map<string, FieldPath>();
  const walk = (value: unknown, path: FieldPath): void => {
    const entries = isMap(value) ? Object.entries(value) : [];
    if (entries.length === 0 && path.length > 0) add(found, path);
    for (const [element, inner] of entries) walk(inner, [...path, element]);
  };
  walk(fields, []);
  return found;
}

/** The value at a path, undefined when there is none. */
export function valueAt(object: unknown, path: FieldPath, message: Message | undefined): unknown {
  let value: unknown = object;
  let at = message;
  let list: Field | undefined;
  for (const element of path) {
    if (element === ".") return value;
    if (element.startsWith("f:")) {
      const name = element.slice(2);
      list = at === undefined ? undefined : apiSchema().fieldOf(at, name);
      value = isMap(value) ? value[name] : undefined;
    } else {
      const within: Field | undefined = list;
      value = within && Array.isArray(value) ? value.find((item) => elementOf(item, within) === element) : undefined;
    }
    at = messageOf(list);
  }
  return value;
}

/** Takes the value at a path away, with maps that are empty then. Changes `object`. */
export function removeAt(object: Record<string, unknown>, path: FieldPath, message: Message | undefined): void {
  const [element, ...rest] = path;
  if (element === undefined || !element.startsWith("f:")) return;
  const name = element.slice(2);
  const field = message === undefined ? undefined : apiSchema().fieldOf(message, name);
  const value = object[name];
  if (rest.length === 0) delete object[name];
  else if (Array.isArray(value) && field !== undefined) object[name] = withoutEntry(value, rest, field);
  else if (isMap(value)) removeAt(value, rest, messageOf(field));
  const left = object[name];
  if ((isMap(left) && Object.keys(left).length === 0) || (Array.isArray(left) && left.length === 0))
    delete object[name];
}

function withoutEntry(list: readonly unknown[], [element, ...rest]: FieldPath, field: Field): unknown[] {
  if (rest.length === 0 || rest[0] === ".") return list.filter((item) => elementOf(item, field) !== element);
  for (const item of list)
    if (isMap(item) && elementOf(item, field) === element) removeAt(item, rest, messageOf(field));
  return [...list];
}

/** Lays the fields of `applied` over `live`: maps join, lists with keys join by entry, sets unite, all else is replaced. */
export function mergeApplied(
  live: Record<string, unknown>,
  applied: Record<string, unknown>,
  message: Message | undefined,
): Record<string, unknown> {
  const result: Record<string, unknown> = { ...live };
  for (const [name, value] of Object.entries(applied)) {
    if (value === null || name === "__proto__") continue;
    const field = message === undefined ? undefined : apiSchema().fieldOf(message, name);
    const before = result[name];
    if (isMap(value) && isMap(before) && !(field?.isList ?? false)) {
      result[name] = mergeApplied(before, value, field?.isMap ? undefined : messageOf(field));
    } else if (Array.isArray(value) && Array.isArray(before) && field?.mergeKey !== undefined) {
      result[name] = mergeEntries(before, value, field);
    } else {
      result[name] = value;
    }
  }
  return result;
}

function mergeEntries(live: readonly unknown[], applied: readonly unknown[], field: Field): unknown[] {
  const result = [...live];
  for (const item of applied) {
    const element = elementOf(item, field);
    const at = result.findIndex((candidate) => elementOf(candidate, field) === element);
    const before = result[at];
    if (at < 0) result.push(item);
    else if (isMap(before) && isMap(item)) result[at] = mergeApplied(before, item, messageOf(field));
  }
  return result;
}

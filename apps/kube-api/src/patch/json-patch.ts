import { isDeepStrictEqual } from "node:util";
import { ApiError, apiErrors } from "../http/api-error.ts";

interface Operation {
  op: string;
  path: string;
  from?: string;
  value?: unknown;
}

/** Applies an RFC 6902 patch to a copy of `document`. Throws 400 for a bad patch, 422 for one that does not fit. */
export function applyJsonPatch(document: unknown, patch: unknown): unknown {
  if (!Array.isArray(patch)) throw apiErrors.badRequest("a JSON patch must be a list of operations");
  if (patch.length > 10_000) throw apiErrors.badRequest("a JSON patch may have at most 10000 operations");
  const root = { document: structuredClone(document) };
  for (const operation of patch as Operation[]) apply(root, operation);
  return root.document;
}

function apply(root: { document: unknown }, operation: Operation): void {
  switch (operation.op) {
    case "add":
      insert(root, operation.path, structuredClone(operation.value));
      return;
    case "remove":
      remove(root, operation.path);
      return;
    case "replace":
      remove(root, operation.path);
      insert(root, operation.path, structuredClone(operation.value));
      return;
    case "move":
      insert(root, operation.path, remove(root, operation.from ?? ""));
      return;
    case "copy":
      insert(root, operation.path, structuredClone(read(root, operation.from ?? "")));
      return;
    case "test":
      if (!isDeepStrictEqual(read(root, operation.path), operation.value)) {
        throw unfit(`testing value ${operation.path} failed`);
      }
      return;
    default:
      throw apiErrors.badRequest(`unknown JSON patch operation ${JSON.stringify(operation.op)}`);
  }
}

/** The patch can be read and does not apply to the object as it is. Source: apiserver pkg/endpoints/handlers/patch.go. */
function unfit(message: string): Error {
  const text = `the server rejected our request due to an error in our request: ${message}`;
  return new ApiError(422, "Invalid", text, {});
}

function tokens(pointer: unknown): string[] {
  if (typeof pointer !== "string" || (pointer !== "" && !pointer.startsWith("/"))) {
    throw apiErrors.badRequest(`invalid JSON pointer ${JSON.stringify(pointer)}`);
  }
  return pointer
    .split("/")
    .slice(1)
    .map((token) => token.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** The container of the last token, and that token. The document itself sits under "document" of `root`. */
function locate(
  root: { document: unknown },
  pointer: string,
): { parent: Record<string, unknown> | unknown[]; key: string } {
  let parent: unknown = root;
  let key = "document";
  for (const token of tokens(pointer)) {
    parent = child(parent, key, pointer);
    key = token;
  }
  if (typeof parent !== "object" || parent === null) throw unfit(`${pointer} has no parent`);
  if (key === "__proto__") throw apiErrors.badRequest("invalid JSON pointer");
  return { parent: parent as Record<string, unknown> | unknown[], key };
}

function child(parent: unknown, key: string, pointer: string): unknown {
  if (Array.isArray(parent)) return parent[index(parent, key, parent.length - 1, pointer)];
  if (typeof parent === "object" && parent !== null && Object.hasOwn(parent, key)) {
    return (parent as Record<string, unknown>)[key];
  }
  throw unfit(`${pointer} does not exist`);
}

function index(list: readonly unknown[], key: string, max: number, pointer: string): number {
  if (key === "-") return list.length;
  const position = /^(0|[1-9]\d*)$/.test(key) ? Number(key) : -1;
  if (position < 0 || position > max) throw unfit(`${pointer} is out of range`);
  return position;
}

function read(root: { document: unknown }, pointer: string): unknown {
  const { parent, key } = locate(root, pointer);
  return child(parent, key, pointer);
}

function insert(root: { document: unknown }, pointer: string, value: unknown): void {
  const { parent, key } = locate(root, pointer);
  if (Array.isArray(parent)) parent.splice(index(parent, key, parent.length, pointer), 0, value);
  else parent[key] = value;
}

function remove(root: { document: unknown }, pointer: string): unknown {
  const { parent, key } = locate(root, pointer);
  const value = child(parent, key, pointer);
  if (Array.isArray(parent)) parent.splice(Number(key), 1);
  else if (pointer !== "") delete parent[key];
  return value;
}

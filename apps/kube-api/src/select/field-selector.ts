import { apiErrors } from "../http/api-error.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";

export type FieldSelector = (object: ApiObject) => boolean;

export interface ParsedFieldSelector {
  matches: FieldSelector;
  /** The name that `metadata.name=x` pins the answer to, so that a list becomes a get. */
  exactName: string | undefined;
}

/** Parses `metadata.name=a,spec.nodeName!=b` for a kind; undefined when empty. Throws 400 on a field the kind does not offer. */
export function parseFieldSelector(kind: Kind, text: string | null): ParsedFieldSelector | undefined {
  if (text === null || text.trim() === "") return undefined;
  let exactName: string | undefined;
  const tests = text.split(",").map((part): FieldSelector => {
    const match = /^([^=!]+?)\s*(==|=|!=)\s*(.*)$/.exec(part.trim());
    if (match === null) throw apiErrors.badRequest(`invalid selector: ${JSON.stringify(part)}; can't understand it`);
    const [, path, operator, value] = match as unknown as [string, string, string, string];
    const read = reader(kind, path);
    if (operator === "!=") return (object) => read(object) !== value;
    if (path === "metadata.name") exactName = value;
    return (object) => read(object) === value;
  });
  return { matches: (object) => tests.every((test) => test(object)), exactName };
}

function reader(kind: Kind, path: string): (object: ApiObject) => string {
  if (path === "metadata.name") return (object) => object.metadata.name;
  if (path === "metadata.namespace" && kind.namespaced) return (object) => object.metadata.namespace ?? "";
  const own = kind.selectableFields?.[path];
  if (own === undefined) {
    throw apiErrors.badRequest(`field label not supported: ${path}`);
  }
  return own;
}

import type { Kind } from "../kinds/kind.ts";

export interface Parameter {
  name: string;
  in: "query" | "path";
  required?: true;
  type: "string";
}

/** An operation, as far as clients read it: which kind it acts on and which parameters it takes. */
export interface Operation<P> {
  operationId: string;
  parameters: P[];
  responses: Record<string, { description: string }>;
  "x-kubernetes-action": string;
  "x-kubernetes-group-version-kind": { group: string; version: string; kind: string };
}

/** Method -> operation, by path. */
export type Paths<P> = Record<string, Record<string, Operation<P>>>;

/** The paths of a kind; `shape` puts a parameter into the form of the document's version. */
export function kindPaths<P>(group: string, version: string, kind: Kind, shape: (parameter: Parameter) => P): Paths<P> {
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const collection = `${root}${kind.namespaced ? "/namespaces/{namespace}" : ""}/${kind.plural}`;
  const object = `${collection}/{name}`;
  const operation = (action: string, path: string): Operation<P> => ({
    operationId: `${action}${group.split(".")[0]}${version}${kind.kind}`,
    parameters: [...path.matchAll(/\{(\w+)\}/g)]
      .map(([, name = ""]): Parameter => ({ name, in: "path", required: true, type: "string" }))
      .concat(writeOptions)
      .map(shape),
    responses: { 200: { description: "OK" } },
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": { group, version, kind: kind.kind },
  });
  return {
    [collection]: { get: operation("list", collection), post: operation("post", collection) },
    [object]: {
      get: operation("get", object),
      put: operation("put", object),
      patch: operation("patch", object),
      delete: operation("delete", object),
    },
  };
}

const writeOptions = ["dryRun", "fieldManager", "fieldValidation"].map(
  (name): Parameter => ({ name, in: "query", type: "string" }),
);

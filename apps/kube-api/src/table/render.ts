import type { ApiObject, Kind } from "../kinds/kind.ts";

/** A meta.k8s.io/v1 Table: what kubectl prints. `includeObject` is None, Metadata (default) or Object. */
export function renderTable(
  kind: Kind,
  objects: readonly ApiObject[],
  metadata: Record<string, unknown>,
  nowMs: number,
  includeObject: string | null,
): Record<string, unknown> {
  return {
    kind: "Table",
    apiVersion: "meta.k8s.io/v1",
    metadata,
    columnDefinitions: kind.columns.map((column) => ({
      name: column.name,
      type: column.type ?? "string",
      format: column.name === "Name" ? "name" : "",
      description: column.description ?? "",
      priority: column.wide ? 1 : 0,
    })),
    rows: objects.map((object) => ({
      cells: kind.columns.map((column) => column.cell(object, nowMs)),
      object: rowObject(object, includeObject),
    })),
  };
}

function rowObject(object: ApiObject, include: string | null): unknown {
  if (include === "None") return undefined;
  if (include === "Object") return object;
  return { kind: "PartialObjectMetadata", apiVersion: "meta.k8s.io/v1", metadata: object.metadata };
}

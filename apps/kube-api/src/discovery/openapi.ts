import type { KindCatalog } from "../kinds/catalog.ts";
import type { Kind } from "../kinds/kind.ts";
import { apiSchema, messageOf } from "../schema/kinds.ts";
import type { Field, Message } from "../schema/message.ts";
import { kubernetesVersion } from "./version.ts";

type JsonSchema = Record<string, unknown>;

/**
 * OpenAPI v3, made from the schema of messages: which kinds exist, that writes take `fieldValidation`, and the type of every
 * field for `kubectl explain`.
 */
export class OpenApi {
  readonly #catalog: KindCatalog;

  constructor(catalog: KindCatalog) {
    this.#catalog = catalog;
  }

  document(path: string): unknown {
    if (path === "/openapi/v3") return this.#index();
    const match = /^\/openapi\/v3\/(?:api\/(v1)|apis\/([^/]+)\/([^/]+))$/.exec(path);
    if (match === null) return undefined;
    const group = match[2] ?? "";
    const version = match[1] ?? match[3] ?? "";
    const kinds = this.#catalog.resourcesOf(group, version);
    return kinds.length === 0 ? undefined : groupVersionDocument(group, version, kinds);
  }

  #index(): unknown {
    const paths: Record<string, unknown> = {};
    for (const { group, versions } of this.#catalog.groups()) {
      for (const version of versions) {
        const name = group === "" ? `api/${version}` : `apis/${group}/${version}`;
        paths[name] = {
          serverRelativeURL: `/openapi/v3/${name}?hash=${encodeURIComponent(kubernetesVersion.gitVersion)}`,
        };
      }
    }
    return { paths };
  }
}

function groupVersionDocument(group: string, version: string, kinds: readonly Kind[]): unknown {
  const schemas: Record<string, JsonSchema> = {};
  const paths: Record<string, unknown> = {};
  for (const kind of kinds) {
    const message = messageOf(kind, version);
    if (message !== undefined) {
      addSchema(message, schemas);
      const typed = schemas[schemaName(message.name)]!;
      typed.properties = { apiVersion: { type: "string" }, kind: { type: "string" }, ...(typed.properties as object) };
      typed["x-kubernetes-group-version-kind"] = [{ group, kind: kind.kind, version }];
    }
    Object.assign(paths, kindPaths(group, version, kind));
  }
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: kubernetesVersion.gitVersion },
    paths,
    components: { schemas },
  };
}

/** Adds a message and all that it refers to. */
function addSchema(message: Message, schemas: Record<string, JsonSchema>): void {
  const name = schemaName(message.name);
  if (schemas[name] !== undefined) return;
  const properties: Record<string, JsonSchema> = {};
  schemas[name] = { type: "object", properties };
  addProperties(message, properties, schemas);
}

function addProperties(
  message: Message,
  properties: Record<string, JsonSchema>,
  schemas: Record<string, JsonSchema>,
): void {
  for (const field of message.fields) {
    const inner = apiSchema().messageOf(field);
    if (field.isInline && inner !== undefined) addProperties(inner, properties, schemas);
    else properties[field.name] = fieldSchema(field, inner, schemas);
  }
}

function fieldSchema(field: Field, inner: Message | undefined, schemas: Record<string, JsonSchema>): JsonSchema {
  if (inner !== undefined) addSchema(inner, schemas);
  const value: JsonSchema =
    inner === undefined
      ? (valueSchemas[field.type] ?? { type: "object" })
      : { allOf: [{ $ref: `#/components/schemas/${schemaName(inner.name)}` }] };
  if (field.isMap) return { type: "object", additionalProperties: value };
  if (!field.isList) return value;
  if (field.mergeKey === undefined) return { type: "array", items: value };
  const merge = { "x-kubernetes-patch-strategy": "merge" };
  if (field.mergeKey === "") return { type: "array", items: value, ...merge };
  return {
    type: "array",
    items: value,
    ...merge,
    "x-kubernetes-patch-merge-key": field.mergeKey,
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": field.listKeys,
  };
}

const valueSchemas: Readonly<Record<string, JsonSchema>> = {
  string: { type: "string" },
  bytes: { type: "string", format: "byte" },
  bool: { type: "boolean" },
  int32: { type: "integer", format: "int32" },
  int64: { type: "integer", format: "int64" },
  Time: { type: "string", format: "date-time" },
  MicroTime: { type: "string", format: "date-time" },
  Quantity: { type: "string" },
  IntOrString: { type: "string", format: "int-or-string" },
};

/** `core.Pod` -> `io.k8s.api.core.v1.Pod`. */
function schemaName(message: string): string {
  const [section = "", name = ""] = message.split(".");
  const [group, version = "v1"] = section.split("-");
  return `${group === "meta" ? "io.k8s.apimachinery.pkg.apis" : "io.k8s.api"}.${group}.${version}.${name}`;
}

function kindPaths(group: string, version: string, kind: Kind): Record<string, unknown> {
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const collection = `${root}${kind.namespaced ? "/namespaces/{namespace}" : ""}/${kind.plural}`;
  const gvk = { group, version, kind: kind.kind };
  const operation = (action: string) => ({
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": gvk,
    parameters: ["dryRun", "fieldManager", "fieldValidation"].map((name) => ({
      name,
      in: "query",
      schema: { type: "string", uniqueItems: true },
    })),
    responses: { 200: { description: "OK" } },
  });
  return {
    [collection]: { get: operation("list"), post: operation("post") },
    [`${collection}/{name}`]: {
      get: operation("get"),
      put: operation("put"),
      patch: operation("patch"),
      delete: operation("delete"),
    },
  };
}

import type { Kind } from "../kinds/kind.ts";
import { apiSchema, messageOf } from "../schema/kinds.ts";
import type { Field, Message } from "../schema/message.ts";

export type JsonSchema = Record<string, unknown>;

/**
 * The named schemas of an OpenAPI document, collected from the schema of messages. The two versions of OpenAPI differ here only
 * in how one schema refers to another.
 */
export class OpenApiSchemas {
  readonly byName: Record<string, JsonSchema> = {};
  readonly #reference: (name: string) => JsonSchema;

  constructor(reference: (name: string) => JsonSchema) {
    this.#reference = reference;
  }

  /** Adds a kind's schema and all that it refers to; nothing for a kind whose fields are not known. */
  addKind(kind: Kind, version: string): void {
    const message = messageOf(kind, version);
    if (message === undefined) return;
    const name = this.#add(message);
    const typed = this.byName[name]!;
    typed.properties = { apiVersion: { type: "string" }, kind: { type: "string" }, ...(typed.properties as object) };
    typed["x-kubernetes-group-version-kind"] = [{ group: kind.group, kind: kind.kind, version }];
  }

  #add(message: Message): string {
    const name = schemaName(message.name);
    if (this.byName[name] !== undefined) return name;
    const properties: Record<string, JsonSchema> = {};
    this.byName[name] = { type: "object", properties };
    this.#addProperties(message, properties);
    return name;
  }

  #addProperties(message: Message, properties: Record<string, JsonSchema>): void {
    for (const field of message.fields) {
      const inner = apiSchema().messageOf(field);
      if (field.isInline && inner !== undefined) this.#addProperties(inner, properties);
      else properties[field.name] = this.#field(field, inner);
    }
  }

  #field(field: Field, inner: Message | undefined): JsonSchema {
    const value: JsonSchema =
      inner === undefined ? (valueSchemas[field.type] ?? { type: "object" }) : this.#reference(this.#add(inner));
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

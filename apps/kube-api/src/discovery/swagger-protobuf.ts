import { encodeMessage } from "../protobuf/codec.ts";
import { apiSchema } from "../schema/kinds.ts";
import type { Operation, Parameter } from "./openapi-paths.ts";
import type { JsonSchema } from "./openapi-schemas.ts";
import type { Swagger } from "./swagger.ts";

/** The media type in which kubectl before 1.27 asks for `/openapi/v2`, and the one it is answered with: `@` is not allowed in a type. */
export const swaggerProtobufType = {
  asked: "application/com.github.proto-openapi.spec.v2@v1.0+protobuf",
  answered: "application/com.github.proto-openapi.spec.v2.v1.0+protobuf",
};

type Value = Record<string, unknown>;

/**
 * The protobuf form of a Swagger document: maps become lists of named entries, a choice becomes a message with one field set,
 * and what begins with `x-` is YAML text. Source: gnostic's published openapiv2 messages (see ../schema/messages/swagger.ts).
 */
export function encodeSwagger(document: Swagger): Buffer {
  return encodeMessage(apiSchema().find("swagger.Document")!, {
    swagger: document.swagger,
    info: document.info,
    paths: {
      path: named(document.paths, (operations) =>
        Object.fromEntries(Object.entries(operations).map(([method, each]) => [method, operation(each)])),
      ),
    },
    definitions: { entries: named(document.definitions, schema) },
  });
}

function named<T>(entries: Readonly<Record<string, T>>, convert: (value: T) => Value): Value[] {
  return Object.entries(entries).map(([name, value]) => ({ name, value: convert(value) }));
}

function operation(from: Operation<Parameter>): Value {
  return {
    operationId: from.operationId,
    parameters: from.parameters.map((each) => ({ parameter: { nonBody: { [each.in]: each } } })),
    responses: {
      code: named(from.responses, (response) => ({ response })),
    },
    extensions: extensions(from as unknown as Value),
  };
}

function schema(from: JsonSchema): Value {
  const { type, items, properties, additionalProperties } = from;
  return {
    $ref: from.$ref,
    format: from.format,
    type: type === undefined ? undefined : { value: [type] },
    items: items === undefined ? undefined : { schema: [schema(items as JsonSchema)] },
    properties:
      properties === undefined ? undefined : { entries: named(properties as Record<string, JsonSchema>, schema) },
    additionalProperties:
      additionalProperties === undefined ? undefined : { schema: schema(additionalProperties as JsonSchema) },
    extensions: extensions(from),
  };
}

/** JSON is YAML, so the text of an extension is its JSON. */
function extensions(from: Value): Value[] {
  return Object.entries(from)
    .filter(([name]) => name.startsWith("x-"))
    .map(([name, value]) => ({ name, value: { yaml: JSON.stringify(value) } }));
}

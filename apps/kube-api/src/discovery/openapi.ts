import type { KindCatalog } from "../kinds/catalog.ts";
import type { Kind } from "../kinds/kind.ts";
import { kindPaths } from "./openapi-paths.ts";
import { OpenApiSchemas } from "./openapi-schemas.ts";
import { swaggerDocument } from "./swagger.ts";
import { encodeSwagger, swaggerProtobufType } from "./swagger-protobuf.ts";
import { kubernetesVersion } from "./version.ts";

/**
 * OpenAPI, made from the schema of messages: which kinds exist, that writes take `fieldValidation`, and the type of every
 * field for `kubectl explain`. Version 3 has a document a group and version; version 2 is one for all, which kubectl before 1.27
 * asks for, as protobuf.
 */
export class OpenApi {
  readonly #catalog: KindCatalog;
  #swagger: Buffer | undefined;
  #swaggerProtobuf: Buffer | undefined;

  constructor(catalog: KindCatalog) {
    this.#catalog = catalog;
  }

  /** The document at a path in the form that the Accept header names, or undefined when there is none. */
  document(path: string, accept = ""): { body: Buffer; contentType: string } | undefined {
    if (path === "/openapi/v2") return this.#version2(accept);
    const body = this.#version3(path);
    return body === undefined ? undefined : { body: toJson(body), contentType: "application/json" };
  }

  /** Kept once made: it describes every kind, and is asked for by each command of an older kubectl. */
  #version2(accept: string): { body: Buffer; contentType: string } {
    if (accept.includes(swaggerProtobufType.asked) || accept.includes(swaggerProtobufType.answered)) {
      this.#swaggerProtobuf ??= encodeSwagger(swaggerDocument(this.#catalog));
      return { body: this.#swaggerProtobuf, contentType: swaggerProtobufType.answered };
    }
    this.#swagger ??= toJson(swaggerDocument(this.#catalog));
    return { body: this.#swagger, contentType: "application/json" };
  }

  #version3(path: string): unknown {
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

function toJson(document: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(document)}\n`);
}

function groupVersionDocument(group: string, version: string, kinds: readonly Kind[]): unknown {
  const schemas = new OpenApiSchemas((name) => ({ allOf: [{ $ref: `#/components/schemas/${name}` }] }));
  const paths: Record<string, unknown> = {};
  for (const kind of kinds) {
    schemas.addKind(kind, version);
    Object.assign(
      paths,
      kindPaths(group, version, kind, ({ type, ...parameter }) => ({ ...parameter, schema: { type } })),
    );
  }
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: kubernetesVersion.gitVersion },
    paths,
    components: { schemas: schemas.byName },
  };
}

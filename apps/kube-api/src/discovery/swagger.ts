import type { KindCatalog } from "../kinds/catalog.ts";
import { kindPaths, type Parameter, type Paths } from "./openapi-paths.ts";
import { type JsonSchema, OpenApiSchemas } from "./openapi-schemas.ts";
import { kubernetesVersion } from "./version.ts";

/** An OpenAPI v2 (Swagger) document. */
export interface Swagger {
  swagger: "2.0";
  info: { title: string; version: string };
  paths: Paths<Parameter>;
  definitions: Record<string, JsonSchema>;
}

/** The document of all kinds, in OpenAPI v2. */
export function swaggerDocument(catalog: KindCatalog): Swagger {
  const schemas = new OpenApiSchemas((name) => ({ $ref: `#/definitions/${name}` }));
  const paths: Swagger["paths"] = {};
  for (const { group, versions } of catalog.groups()) {
    for (const version of versions) {
      for (const kind of catalog.resourcesOf(group, version)) {
        schemas.addKind(kind, version);
        Object.assign(
          paths,
          kindPaths(group, version, kind, (parameter) => parameter),
        );
      }
    }
  }
  return {
    swagger: "2.0",
    info: { title: "Kubernetes", version: kubernetesVersion.gitVersion },
    paths,
    definitions: schemas.byName,
  };
}

import type { KindCatalog } from "../kinds/catalog.ts";
import { apiVersionOf, type Kind } from "../kinds/kind.ts";
import { kubernetesVersion } from "./version.ts";

/**
 * OpenAPI v3, as much as kubectl uses: which kinds exist, that PATCH takes `fieldValidation`, and the common fields for
 * `kubectl explain`. Kind-specific fields are described as free-form objects, since this API does not type them.
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
        paths[name] = { serverRelativeURL: `/openapi/v3/${name}?hash=${kubernetesVersion.gitVersion}` };
      }
    }
    return { paths };
  }
}

const metadataRef = { $ref: "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" };
const freeForm = { type: "object", "x-kubernetes-preserve-unknown-fields": true };

function groupVersionDocument(group: string, version: string, kinds: readonly Kind[]): unknown {
  const schemas: Record<string, unknown> = {
    "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta": {
      description: "ObjectMeta is metadata that all persisted resources must have.",
      type: "object",
      properties: {
        name: { type: "string", description: "Name must be unique within a namespace." },
        namespace: {
          type: "string",
          description: "Namespace defines the space within which each name must be unique.",
        },
        labels: {
          type: "object",
          additionalProperties: { type: "string" },
          description: "Map of string keys and values that can be used to organize and categorize objects.",
        },
        annotations: {
          type: "object",
          additionalProperties: { type: "string" },
          description: "Unstructured key value map stored with a resource.",
        },
      },
      "x-kubernetes-preserve-unknown-fields": true,
    },
  };
  const paths: Record<string, unknown> = {};
  for (const kind of kinds) {
    schemas[schemaName(group, version, kind)] = kindSchema(group, version, kind);
    Object.assign(paths, kindPaths(group, version, kind));
  }
  return {
    openapi: "3.0.0",
    info: { title: "Kubernetes", version: kubernetesVersion.gitVersion },
    paths,
    components: { schemas },
  };
}

function schemaName(group: string, version: string, kind: Kind): string {
  return `io.k8s.api.${group === "" ? "core" : group.split(".")[0]}.${version}.${kind.kind}`;
}

function kindSchema(group: string, version: string, kind: Kind): unknown {
  return {
    description: `${kind.kind} (${apiVersionOf(group, version)})`,
    type: "object",
    properties: {
      apiVersion: {
        type: "string",
        description: "APIVersion defines the versioned schema of this representation of an object.",
      },
      kind: {
        type: "string",
        description: "Kind is a string value representing the REST resource this object represents.",
      },
      metadata: metadataRef,
      spec: freeForm,
      status: freeForm,
    },
    "x-kubernetes-preserve-unknown-fields": true,
    "x-kubernetes-group-version-kind": [{ group, kind: kind.kind, version }],
  };
}

function kindPaths(group: string, version: string, kind: Kind): Record<string, unknown> {
  const root = group === "" ? `/api/${version}` : `/apis/${group}/${version}`;
  const collection = `${root}${kind.namespaced ? "/namespaces/{namespace}" : ""}/${kind.plural}`;
  const gvk = { group, version, kind: kind.kind };
  const operation = (action: string) => ({
    "x-kubernetes-action": action,
    "x-kubernetes-group-version-kind": gvk,
    parameters: [
      { name: "dryRun", in: "query", schema: { type: "string", uniqueItems: true } },
      { name: "fieldManager", in: "query", schema: { type: "string", uniqueItems: true } },
      { name: "fieldValidation", in: "query", schema: { type: "string", uniqueItems: true } },
    ],
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

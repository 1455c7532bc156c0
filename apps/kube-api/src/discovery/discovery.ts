import type { KindCatalog } from "../kinds/catalog.ts";
import { apiVersionOf, type Kind } from "../kinds/kind.ts";
import { reviewResources } from "../verbs/reviews.ts";

const objectVerbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
/** What a subresource takes and gives, when that is not the kind itself. */
interface Subresource {
  kind: string;
  group?: string;
  version?: string;
  verbs: readonly string[];
}

const subresources: Readonly<Record<string, Subresource>> = {
  exec: { kind: "PodExecOptions", verbs: ["create", "get"] },
  attach: { kind: "PodAttachOptions", verbs: ["create", "get"] },
  portforward: { kind: "PodPortForwardOptions", verbs: ["create", "get"] },
  log: { kind: "Pod", verbs: ["get"] },
  binding: { kind: "Binding", verbs: ["create"] },
  eviction: { kind: "Eviction", group: "policy", version: "v1", verbs: ["create"] },
  finalize: { kind: "Namespace", verbs: ["update"] },
  scale: { kind: "Scale", group: "autoscaling", version: "v1", verbs: ["get", "patch", "update"] },
  token: { kind: "TokenRequest", group: "authentication.k8s.io", version: "v1", verbs: ["create"] },
  proxy: { kind: "NodeProxyOptions", verbs: ["create", "delete", "get", "patch", "update"] },
};

/** Answers `/api`, `/apis`, their group and version documents, plain and aggregated. Everything follows from the table. */
export class Discovery {
  readonly #catalog: KindCatalog;
  readonly #serverAddress: () => string;

  constructor(catalog: KindCatalog, serverAddress: () => string) {
    this.#catalog = catalog;
    this.#serverAddress = serverAddress;
  }

  /** The document at a path, or undefined when discovery has none there. */
  document(path: string, accept: string | undefined): { body: unknown; contentType?: string } | undefined {
    const [root, group, version, ...rest] = path.split("/").filter((part) => part !== "");
    if (rest.length > 0) return undefined;
    const aggregated = /application\/json;[^,]*as=APIGroupDiscoveryList/.exec(accept ?? "")?.[0];
    if (root === "api" && version === undefined) {
      if (group === "v1") return { body: this.#resourceList("", "v1") };
      if (group !== undefined) return undefined;
      return aggregated === undefined ? { body: this.#coreVersions() } : this.#aggregated([""], aggregated);
    }
    if (root !== "apis") return undefined;
    const names = this.#groups().map((known) => known.group);
    if (group === undefined) {
      return aggregated === undefined ? { body: this.#groupList() } : this.#aggregated(names, aggregated);
    }
    const known = this.#groups().find((candidate) => candidate.group === group);
    if (known === undefined) return undefined;
    if (version === undefined) return { body: { kind: "APIGroup", apiVersion: "v1", ...apiGroup(known) } };
    return known.versions.includes(version) ? { body: this.#resourceList(group, version) } : undefined;
  }

  #coreVersions(): unknown {
    return {
      kind: "APIVersions",
      versions: ["v1"],
      serverAddressByClientCIDRs: [{ clientCIDR: "0.0.0.0/0", serverAddress: this.#serverAddress() }],
    };
  }

  /** Named groups: those of stored kinds and those of reviews. */
  #groups(): { group: string; versions: string[] }[] {
    const groups = this.#catalog.groups().filter(({ group }) => group !== "");
    for (const { group, version } of reviewResources) {
      if (!groups.some((known) => known.group === group)) groups.push({ group, versions: [version] });
    }
    return groups;
  }

  #groupList(): unknown {
    return { kind: "APIGroupList", apiVersion: "v1", groups: this.#groups().map(apiGroup) };
  }

  #resourceList(group: string, version: string): unknown {
    const resources: Record<string, unknown>[] = [];
    for (const kind of this.#catalog.resourcesOf(group, version)) {
      resources.push({
        name: kind.plural,
        singularName: kind.singular,
        namespaced: kind.namespaced,
        kind: kind.kind,
        verbs: kind.verbs ?? objectVerbs,
        ...(kind.shortNames && { shortNames: kind.shortNames }),
        ...(kind.categories && { categories: kind.categories }),
        storageVersionHash: storageHash(kind),
      });
      for (const name of kind.subresources ?? []) {
        resources.push({
          name: `${kind.plural}/${name}`,
          singularName: "",
          namespaced: kind.namespaced,
          ...subresource(kind, name),
        });
      }
    }
    for (const review of reviewResources) {
      if (review.group !== group || review.version !== version) continue;
      const namespaced = review.plural.startsWith("local");
      resources.push({
        name: review.plural,
        singularName: review.kind.toLowerCase(),
        namespaced,
        kind: review.kind,
        verbs: ["create"],
      });
    }
    return { kind: "APIResourceList", apiVersion: "v1", groupVersion: apiVersionOf(group, version), resources };
  }

  #aggregated(groups: readonly string[], accept: string): { body: unknown; contentType: string } {
    const version = /v=(v2(?:beta1)?)/.exec(accept)?.[1] ?? "v2";
    const all = [{ group: "", versions: ["v1"] }, ...this.#groups()];
    return {
      contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
      body: {
        kind: "APIGroupDiscoveryList",
        apiVersion: `apidiscovery.k8s.io/${version}`,
        metadata: {},
        items: all
          .filter(({ group }) => groups.includes(group))
          .map(({ group, versions }) => ({
            metadata: { name: group, creationTimestamp: null },
            versions: versions.map((name) => ({
              version: name,
              resources: this.#aggregatedResources(group, name),
              freshness: "Current",
            })),
          })),
      },
    };
  }

  #aggregatedResources(group: string, version: string): unknown[] {
    const responseKind = (kind: string) => ({ group, version, kind });
    const stored = this.#catalog.resourcesOf(group, version).map((kind) => ({
      resource: kind.plural,
      responseKind: responseKind(kind.kind),
      scope: kind.namespaced ? "Namespaced" : "Cluster",
      singularResource: kind.singular,
      verbs: kind.verbs ?? objectVerbs,
      ...(kind.shortNames && { shortNames: kind.shortNames }),
      ...(kind.categories && { categories: kind.categories }),
      subresources: (kind.subresources ?? []).map((name) => {
        const { verbs, ...type } = subresource(kind, name);
        return { subresource: name, responseKind: { ...responseKind(type.kind), ...type }, verbs };
      }),
    }));
    const asked = reviewResources
      .filter((review) => review.group === group && review.version === version)
      .map((review) => ({
        resource: review.plural,
        responseKind: responseKind(review.kind),
        scope: review.plural.startsWith("local") ? "Namespaced" : "Cluster",
        singularResource: review.kind.toLowerCase(),
        verbs: ["create"],
      }));
    return [...stored, ...asked];
  }
}

function subresource(kind: Kind, name: string): Subresource {
  return subresources[name] ?? { kind: kind.kind, verbs: ["get", "patch", "update"] };
}

function apiGroup({ group, versions }: { group: string; versions: readonly string[] }) {
  const all = versions.map((version) => ({ groupVersion: `${group}/${version}`, version }));
  return { name: group, versions: all, preferredVersion: all[0] };
}

/** Any stable text per kind: clients only look whether it changes. */
function storageHash(kind: Kind): string {
  return Buffer.from(`${kind.group}/${kind.kind}`.slice(0, 12)).toString("base64");
}

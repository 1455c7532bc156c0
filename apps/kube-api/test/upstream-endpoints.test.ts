import { lacks } from "@keelson/conformance";
import { KubeError, type KubeObject, type ResourceRef, resourcePath, resources } from "@keelson/kube-client";
import { describe, expect, it, onTestFinished } from "vitest";
import { UpstreamEndpoints } from "../src/controllers/upstream-endpoints.ts";
import { createApiEndpoints } from "../src/index.ts";
import { startApi } from "./support/running-api.ts";

const servers = [
  { address: "192.0.2.1", port: 6443 },
  { address: "192.0.2.2", port: 6443 },
];

/** A kube-apiserver as far as endpoints need one. It has slices in one version, or in none. */
class FakeApi {
  readonly objects = new Map<string, KubeObject>();
  readonly writes: string[] = [];
  readonly #sliceVersion: string | undefined;

  constructor(sliceVersion: string | undefined) {
    this.#sliceVersion = sliceVersion;
  }

  async raw<T>(): Promise<T> {
    if (this.#sliceVersion === undefined) throw notFound();
    return { preferredVersion: { version: this.#sliceVersion } } as T;
  }

  async get<T extends KubeObject>(ref: ResourceRef, name: string, namespace?: string): Promise<T> {
    const found = this.objects.get(resourcePath(ref, namespace, name));
    if (found === undefined) throw notFound();
    return structuredClone(found) as T;
  }

  async create<T extends KubeObject>(ref: ResourceRef, object: T): Promise<T> {
    return this.#write(ref, object, "created");
  }

  async update<T extends KubeObject>(ref: ResourceRef, object: T): Promise<T> {
    return this.#write(ref, object, "updated");
  }

  #write<T extends KubeObject>(ref: ResourceRef, object: T, how: string): T {
    const path = resourcePath(ref, object.metadata.namespace, object.metadata.name);
    this.writes.push(`${how} ${path}`);
    this.objects.set(path, structuredClone(object));
    return object;
  }
}

function notFound(): KubeError {
  return new KubeError(404, "NotFound", "not found");
}

describe("the endpoints of an upstream kube-apiserver", () => {
  it("are written in the version that it can read back, and again only when servers come or go", async () => {
    const api = new FakeApi("v1beta1");
    const writer = new UpstreamEndpoints(api, servers[0]!);
    await writer.write(servers);
    await writer.write(servers);
    const endpoints = "/api/v1/namespaces/default/endpoints/kubernetes";
    const slice = "/apis/discovery.k8s.io/v1beta1/namespaces/default/endpointslices/kubernetes";
    expect(api.writes).toEqual([`created ${endpoints}`, `created ${slice}`]);
    await writer.write(servers.slice(1));
    expect(api.writes.slice(2)).toEqual([`updated ${endpoints}`, `updated ${slice}`]);
    const ports = [{ name: "https", port: 6443, protocol: "TCP" }];
    expect(api.objects.get(endpoints)).toMatchObject({
      metadata: { labels: { "endpointslice.kubernetes.io/skip-mirror": "true" } },
      subsets: [{ addresses: [{ ip: "192.0.2.2" }], ports }],
    });
    expect(api.objects.get(slice)).toMatchObject({
      metadata: { labels: { "kubernetes.io/service-name": "kubernetes" } },
      addressType: "IPv4",
      endpoints: [{ addresses: ["192.0.2.2"], conditions: { ready: true } }],
      ports,
    });
  });

  it("have no slice where the API knows none", async () => {
    const api = new FakeApi(undefined);
    await new UpstreamEndpoints(api, servers[0]!).write(servers);
    expect(api.writes).toEqual(["created /api/v1/namespaces/default/endpoints/kubernetes"]);
  });

  it.skipIf(lacks("etcd"))("name each server from its start until its stop", async () => {
    const api = await startApi();
    onTestFinished(() => api.close());
    const second = createApiEndpoints({
      etcd: { endpoints: [api.etcd.url] },
      kubeApi: { socketPath: api.socketPath },
      advertise: { address: "192.0.2.2", port: 6443 },
    });
    const addresses = async (): Promise<string[]> => {
      const { subsets } = await api.client.get<KubeObject & { subsets: { addresses: { ip: string }[] }[] }>(
        resources.endpoints,
        "kubernetes",
        "default",
      );
      return subsets.flatMap((subset) => subset.addresses.map(({ ip }) => ip));
    };
    await second.start();
    expect(await addresses()).toEqual(["192.0.2.1", "192.0.2.2"]);
    await second.stop();
    expect(await addresses()).toEqual(["192.0.2.1"]);
  });
});

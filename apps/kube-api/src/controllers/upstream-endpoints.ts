import { isDeepStrictEqual } from "node:util";
import {
  isAlreadyExists,
  isConflict,
  isNotFound,
  type KubeClient,
  type KubeObject,
  type ResourceRef,
  resources,
} from "@keelson/kube-client";
import type { EndpointsWriter } from "./api-endpoints.ts";
import { endpointsLabels, endpointsOf, sliceLabels } from "./endpoints-of.ts";
import type { Advertised } from "./live-servers.ts";

/**
 * Writes the Endpoints and the EndpointSlice of `default/kubernetes` through an upstream kube-apiserver, which alone knows in
 * which version it can read them back. Their Service it makes itself.
 */
export class UpstreamEndpoints implements EndpointsWriter {
  readonly #client: Pick<KubeClient, "raw" | "get" | "create" | "update">;
  readonly #own: Advertised;

  constructor(client: Pick<KubeClient, "raw" | "get" | "create" | "update">, own: Advertised) {
    this.#client = client;
    this.#own = own;
  }

  async write(servers: readonly Advertised[]): Promise<void> {
    const { subsets, slice } = endpointsOf(servers, this.#own.address);
    await this.#write(resources.endpoints, endpointsLabels, { subsets });
    const version = await this.#sliceVersion();
    if (version !== undefined) await this.#write({ ...resources.endpointSlices, version }, sliceLabels, slice);
  }

  /** `v1`, `v1beta1` before Kubernetes 1.21, undefined where there are no slices yet. */
  async #sliceVersion(): Promise<string | undefined> {
    try {
      const path = `/apis/${resources.endpointSlices.group}`;
      return (await this.#client.raw<{ preferredVersion: { version: string } }>("GET", path)).preferredVersion.version;
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }

  async #write(ref: ResourceRef, labels: Record<string, string>, content: object): Promise<void> {
    try {
      const current = await this.#find(ref);
      const wanted = {
        ...current,
        ...content,
        metadata: { ...current?.metadata, name: "kubernetes", namespace: "default" },
      };
      wanted.metadata.labels = { ...current?.metadata.labels, ...labels };
      if (current === undefined) await this.#client.create(ref, wanted);
      else if (!isDeepStrictEqual(wanted, current)) await this.#client.update(ref, wanted);
    } catch (error) {
      // Another server was faster, and writes the same.
      if (!isConflict(error) && !isAlreadyExists(error)) throw error;
    }
  }

  async #find(ref: ResourceRef): Promise<KubeObject | undefined> {
    try {
      return await this.#client.get(ref, "kubernetes", "default");
    } catch (error) {
      if (isNotFound(error)) return undefined;
      throw error;
    }
  }
}

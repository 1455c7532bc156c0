import type { ApiObject } from "../kinds/kind.ts";
import { section } from "../kinds/rules.ts";
import { prepareUpdate } from "../verbs/prepare.ts";
import type { EndpointsWriter } from "./api-endpoints.ts";
import { endpointsLabels, endpointsOf, sliceLabels } from "./endpoints-of.ts";
import { bare, createIfMissing, type StoreContext } from "./essentials.ts";
import type { Advertised } from "./live-servers.ts";

/** Writes Service `default/kubernetes`, its Endpoints and its EndpointSlice into the store of the embedded API. */
export class StoredEndpoints implements EndpointsWriter {
  readonly #context: StoreContext;
  readonly #own: Advertised;
  readonly #serviceIp: string;

  constructor(context: StoreContext, own: Advertised, serviceIp: string) {
    this.#context = context;
    this.#own = own;
    this.#serviceIp = serviceIp;
  }

  async write(servers: readonly Advertised[]): Promise<void> {
    await this.#ensureService();
    const { subsets, slice } = endpointsOf(servers, this.#own.address);
    await this.#write("endpoints", "", "v1", "Endpoints", endpointsLabels, { subsets });
    await this.#write("endpointslices", "discovery.k8s.io", "discovery.k8s.io/v1", "EndpointSlice", sliceLabels, slice);
  }

  async #ensureService(): Promise<void> {
    const service = bare("v1", "Service", "kubernetes");
    service.metadata = {
      name: "kubernetes",
      namespace: "default",
      labels: { component: "apiserver", provider: "kubernetes" },
    };
    const spec = section(service, "spec");
    spec.clusterIP = this.#serviceIp;
    spec.clusterIPs = [this.#serviceIp];
    spec.ports = [{ name: "https", port: 443, protocol: "TCP", targetPort: this.#own.port }];
    spec.ipFamilies = ["IPv4"];
    spec.ipFamilyPolicy = "SingleStack";
    await createIfMissing(this.#context, "services", "default", service);
  }

  async #write(
    plural: string,
    group: string,
    apiVersion: string,
    kindName: string,
    labels: Record<string, string>,
    content: object,
  ): Promise<void> {
    const kind = this.#context.catalog.require(plural, group);
    const fill = (object: ApiObject): ApiObject => ({
      ...object,
      ...content,
      metadata: { ...object.metadata, labels: { ...object.metadata.labels, ...labels } },
    });
    const blank = bare(apiVersion, kindName, "kubernetes");
    const named = { ...blank, metadata: { ...blank.metadata, namespace: "default" } };
    await createIfMissing(this.#context, plural, "default", fill(named), group);
    const id = { kind, namespace: "default", name: "kubernetes" };
    await this.#context.store.update(id, (current) => prepareUpdate(kind, current, fill(current), "spec"));
  }
}

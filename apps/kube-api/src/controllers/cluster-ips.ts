import { BlockList, isIPv4 } from "node:net";
import { apiErrors } from "../http/api-error.ts";
import type { KindCatalog } from "../kinds/catalog.ts";
import { type ApiObject, textAt } from "../kinds/kind.ts";
import { section } from "../kinds/rules.ts";
import type { ObjectStore } from "../storage/object-store.ts";

/**
 * Gives Services their addresses out of the service network. Taken addresses are read from the Services themselves, so
 * that no record can disagree with them; with several servers two may pick the same free address at the same moment, which
 * a random choice makes unlikely and the check of the next creation would show.
 */
export class ClusterIps {
  readonly #store: ObjectStore;
  readonly #catalog: KindCatalog;
  readonly #base: number;
  readonly #size: number;
  readonly #range = new BlockList();

  constructor(store: ObjectStore, catalog: KindCatalog, serviceCidr: string) {
    this.#store = store;
    this.#catalog = catalog;
    const [address, prefix] = serviceCidr.split("/") as [string, string];
    if (!isIPv4(address)) throw new RangeError(`service network ${serviceCidr} must be IPv4`);
    this.#base = toNumber(address);
    this.#size = 2 ** (32 - Number(prefix));
    this.#range.addSubnet(address, Number(prefix));
  }

  /** The address of Service `default/kubernetes`: the first of the network. */
  get first(): string {
    return toAddress(this.#base + 1);
  }

  /** Sets `spec.clusterIP` where the type has one. Throws 422 when a wanted address is outside or taken. */
  async assign(service: ApiObject): Promise<void> {
    const spec = section(service, "spec");
    const type = String(spec.type ?? "ClusterIP");
    const wanted = textAt(service, "spec.clusterIP");
    if (type === "ExternalName") return;
    if (wanted !== "None") {
      const taken = await this.#taken();
      if (wanted === "") spec.clusterIP = this.#free(taken);
      else this.#check(service, wanted, taken);
      spec.ipFamilies ??= ["IPv4"];
      spec.ipFamilyPolicy ??= "SingleStack";
    }
    spec.clusterIPs = [spec.clusterIP];
  }

  async #taken(): Promise<Set<string>> {
    const { items } = await this.#store.list(this.#catalog.require("services"), undefined);
    return new Set([this.first, ...items.map((item) => textAt(item, "spec.clusterIP"))]);
  }

  #free(taken: ReadonlySet<string>): string {
    // The lower part is left to addresses that people choose, as in kube-apiserver.
    const reserved = Math.min(Math.max(16, Math.floor(this.#size / 16)), 256, Math.floor(this.#size / 2));
    const count = this.#size - reserved - 1;
    const start = Math.floor(Math.random() * count);
    for (let step = 0; step < count; step++) {
      const address = toAddress(this.#base + reserved + ((start + step) % count));
      if (!taken.has(address)) return address;
    }
    throw apiErrors.internal(new Error("the service network has no free address left"));
  }

  #check(service: ApiObject, wanted: string, taken: ReadonlySet<string>): void {
    const isKubernetes = service.metadata.name === "kubernetes" && service.metadata.namespace === "default";
    const isInside = isIPv4(wanted) && this.#range.check(wanted);
    if (isInside && (!taken.has(wanted) || (isKubernetes && wanted === this.first))) return;
    throw apiErrors.invalid(this.#catalog.require("services"), service.metadata.name, [
      {
        field: "spec.clusterIPs",
        reason: "FieldValueInvalid",
        message: `Invalid value: ["${wanted}"]: failed to allocate IP ${wanted}: ${isInside ? "provided IP is already allocated" : "the provided IP is not in the valid range"}`,
      },
    ]);
  }
}

function toNumber(address: string): number {
  return address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
}

function toAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join(".");
}

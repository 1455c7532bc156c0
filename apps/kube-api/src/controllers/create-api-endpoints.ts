import { createEtcdClient, type EtcdTlsSource } from "@keelson/etcd-client";
import { type Dependencies, type Service, withDefaults } from "@keelson/service";
import { KindCatalog } from "../kinds/catalog.ts";
import { ObjectStore } from "../storage/object-store.ts";
import { TtlLeases } from "../storage/ttl-leases.ts";
import { type Advertised, ApiEndpoints } from "./api-endpoints.ts";
import { ClusterIps } from "./cluster-ips.ts";

export interface ApiEndpointsConfig {
  etcd: { endpoints: readonly string[]; tls?: EtcdTlsSource };
  /** Where agents reach this server. */
  advertise: Advertised;
  serviceCidr: string;
}

/**
 * Keeps the endpoints of `default/kubernetes` beside an upstream kube-apiserver, which would publish its own port behind
 * the gateway instead of the gateway's.
 */
export function createApiEndpoints(config: ApiEndpointsConfig, deps?: Partial<Dependencies>): Service {
  const { log, clock } = withDefaults(deps);
  const etcd = createEtcdClient(config.etcd);
  const catalog = new KindCatalog();
  const store = new ObjectStore(etcd, new TtlLeases(etcd, clock));
  const serviceIp = new ClusterIps(store, catalog, config.serviceCidr).first;
  const endpoints = new ApiEndpoints({ catalog, store, clock }, config.advertise, serviceIp, log);
  return {
    start: () => endpoints.start(),
    async stop() {
      await endpoints.stop();
      etcd.close();
    },
  };
}

import { createEtcdClient, type EtcdTlsSource } from "@keelson/etcd-client";
import { createKubeClient, type KubeClientOptions } from "@keelson/kube-client";
import { type Dependencies, type Service, withDefaults } from "@keelson/service";
import { ApiEndpoints } from "./api-endpoints.ts";
import { type Advertised, LiveServers } from "./live-servers.ts";
import { UpstreamEndpoints } from "./upstream-endpoints.ts";

export interface ApiEndpointsConfig {
  etcd: { endpoints: readonly string[]; tls?: EtcdTlsSource };
  /** The kube-apiserver, as one who may write endpoints. */
  kubeApi: KubeClientOptions;
  /** Where agents reach this server. */
  advertise: Advertised;
}

/**
 * Keeps the endpoints of `default/kubernetes` beside an upstream kube-apiserver, which would publish its own port behind
 * the gateway instead of the gateway's.
 */
export function createApiEndpoints(config: ApiEndpointsConfig, deps?: Partial<Dependencies>): Service {
  const etcd = createEtcdClient(config.etcd);
  const client = createKubeClient({ ...config.kubeApi, userAgent: "keelson-endpoints" });
  const servers = new LiveServers(etcd, config.advertise);
  const endpoints = new ApiEndpoints(servers, new UpstreamEndpoints(client, config.advertise), withDefaults(deps));
  return {
    start: () => endpoints.start(),
    async stop() {
      await endpoints.stop();
      client.close();
      etcd.close();
    },
  };
}

import { createEtcdClient, type EtcdClientOptions } from "@keelson/etcd-client";
import type { KubeClientOptions } from "@keelson/kube-client";
import { type Dependencies, withDefaults } from "@keelson/service";
import { createEtcdEnvelopeStore } from "./etcd-envelope-store.ts";
import { KubeClusterApi } from "./kube-cluster-api.ts";
import { Registration, type RegistrationConfig } from "./registration.ts";

export interface CreateRegistrationConfig extends RegistrationConfig {
  /** The Kubernetes API, for Secrets and Nodes. */
  kube: KubeClientOptions;
  /** The datastore, for the bootstrap envelope; without it the server stays alone. */
  etcd?: EtcdClientOptions;
}

/** Registration as it runs in production, on a Kubernetes API and a datastore. */
export function createRegistration(config: CreateRegistrationConfig, deps: Partial<Dependencies> = {}): Registration {
  const services = withDefaults(deps);
  const cluster = new KubeClusterApi(config.kube, services);
  const etcd = config.etcd === undefined ? undefined : createEtcdClient(config.etcd);
  return new OwningRegistration(
    config,
    { ...services, clusterApi: cluster, envelopes: etcd === undefined ? undefined : createEtcdEnvelopeStore(etcd) },
    cluster,
    () => etcd?.close(),
  );
}

/** Starts and stops the connections that were made for it. */
class OwningRegistration extends Registration {
  readonly #cluster: KubeClusterApi;
  readonly #closeDatastore: () => void;

  constructor(
    config: RegistrationConfig,
    deps: ConstructorParameters<typeof Registration>[1],
    cluster: KubeClusterApi,
    closeDatastore: () => void,
  ) {
    super(config, deps);
    this.#cluster = cluster;
    this.#closeDatastore = closeDatastore;
  }

  override async start(): Promise<void> {
    await this.prepare();
    await this.#cluster.start();
    await super.start();
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#cluster.stop();
    this.#closeDatastore();
  }
}

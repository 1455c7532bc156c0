import { createEtcdClient, type EtcdClientOptions } from "@keelson/etcd-client";
import type { KubeTarget } from "@keelson/kube-client";
import { type Dependencies, withDefaults } from "@keelson/service";
import { createEtcdEnvelopeStore } from "./bootstrap/etcd-envelope-store.ts";
import { KubeClusterApi } from "./cluster/kube-cluster-api.ts";
import type { RegistrationConfig } from "./config.ts";
import { Registration } from "./registration.ts";

export interface CreateRegistrationConfig extends RegistrationConfig {
  /** The Kubernetes API, for Secrets and Nodes: its socket, or its URL, to which registration issues itself a certificate. */
  kube: { socketPath: string } | { server: string };
  /** The datastore, for the bootstrap envelope; without it the server stays alone. */
  etcd?: EtcdClientOptions;
}

/** Registration as it runs in production, on a Kubernetes API and a datastore. */
export function createRegistration(config: CreateRegistrationConfig, deps: Partial<Dependencies> = {}): Registration {
  const services = withDefaults(deps);
  const cluster = new KubeClusterApi(withoutCertificate(config.kube), services);
  const etcd = config.etcd === undefined ? undefined : createEtcdClient(config.etcd);
  return new OwningRegistration(
    config,
    { ...services, clusterApi: cluster, envelopes: etcd === undefined ? undefined : createEtcdEnvelopeStore(etcd) },
    cluster,
    () => etcd?.close(),
  );
}

/** The address alone: the certificate comes once there is a CA to issue it. */
function withoutCertificate(kube: CreateRegistrationConfig["kube"]): KubeTarget {
  return "socketPath" in kube ? kube : { server: kube.server, tls: { ca: "" } };
}

/** The certificate with which registration calls an API on another host. */
const apiIdentity = "client-supervisor";

/** Starts and stops the connections that were made for it. */
class OwningRegistration extends Registration {
  readonly #cluster: KubeClusterApi;
  readonly #closeDatastore: () => void;
  readonly #kube: CreateRegistrationConfig["kube"];

  constructor(
    config: CreateRegistrationConfig,
    deps: ConstructorParameters<typeof Registration>[1],
    cluster: KubeClusterApi,
    closeDatastore: () => void,
  ) {
    super(config, deps);
    this.#kube = config.kube;
    this.#cluster = cluster;
    this.#closeDatastore = closeDatastore;
  }

  override async start(): Promise<void> {
    await this.prepare();
    await this.#identifyToApi();
    this.onCertificatesRenewed((files) => {
      if (files.includes(apiIdentity)) void this.#identifyToApi();
    });
    // Parts on other hosts, the API among them, may enrol before the API answers.
    const synced = this.#cluster.start();
    await super.start();
    await synced;
  }

  async #identifyToApi(): Promise<void> {
    if ("socketPath" in this.#kube) return;
    const [{ certPem, keyPem }, { serverCaPem }] = await Promise.all([
      this.readCertificate(apiIdentity),
      this.caBundles(),
    ]);
    this.#cluster.retarget({ server: this.#kube.server, tls: { ca: serverCaPem, cert: certPem, key: keyPem } });
  }

  override async stop(): Promise<void> {
    await super.stop();
    await this.#cluster.stop();
    this.#closeDatastore();
  }
}

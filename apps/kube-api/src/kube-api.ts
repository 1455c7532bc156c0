import { createPrivateKey } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import type { Duplex } from "node:stream";
import { createEtcdClient, type EtcdClient, type EtcdTlsSource } from "@keelson/etcd-client";
import {
  type Dependencies,
  errorMessage,
  Gauge,
  Health,
  KeelsonError,
  Lifecycle,
  type Service,
  withDefaults,
} from "@keelson/service";
import { RequestAuthenticator, type TrustedCas } from "./auth/authenticate.ts";
import { Authorizer } from "./auth/authorizer.ts";
import { BootstrapTokens } from "./auth/bootstrap-tokens.ts";
import { NodeRestriction } from "./auth/node-restriction.ts";
import { ServiceAccountTokens } from "./auth/service-account-tokens.ts";
import { ApiEndpoints } from "./controllers/api-endpoints.ts";
import { ClusterIps } from "./controllers/cluster-ips.ts";
import { Compactor } from "./controllers/compactor.ts";
import { createEssentials } from "./controllers/essentials.ts";
import { GarbageCollector } from "./controllers/garbage-collector.ts";
import { type Advertised, LiveServers } from "./controllers/live-servers.ts";
import { Namespaces } from "./controllers/namespaces.ts";
import { NodeHealth } from "./controllers/node-health.ts";
import { StoredEndpoints } from "./controllers/stored-endpoints.ts";
import { Discovery } from "./discovery/discovery.ts";
import { OpenApi } from "./discovery/openapi.ts";
import { apiErrors, toApiError } from "./http/api-error.ts";
import { Dispatcher } from "./http/dispatcher.ts";
import { Listener, type ListenTarget } from "./http/listener.ts";
import { parseRequest } from "./http/request-info.ts";
import { RequestMetrics } from "./http/request-metrics.ts";
import { KindCatalog } from "./kinds/catalog.ts";
import { KubeletConnections, type TlsMaterial } from "./nodes/node-connections.ts";
import { ObjectStore } from "./storage/object-store.ts";
import { TtlLeases } from "./storage/ttl-leases.ts";
import { WatchHub } from "./storage/watch-hub.ts";
import type { ApiContext } from "./verbs/call.ts";

export interface KubeApiConfig {
  /** The datastore, an etcd v3 API. */
  etcd: { endpoints: readonly string[]; tls?: EtcdTlsSource };
  listen: readonly ListenTarget[];
  /** PEM bundle that verifies client certificates. */
  clientCaPem: string;
  /** PEM bundle that verifies the front proxy. */
  requestHeaderCaPem: string;
  /** Where agents reach this server: goes into the endpoints of `default/kubernetes`. Left out, nothing is published. */
  advertise?: Advertised;
  serviceCidr: string;
  /** Signs service-account tokens. */
  serviceAccount?: { privateKeyPem: string; issuer: string };
  /** How nodes are reached. */
  egress?: { connectUrl: string; tls: TlsMaterial };
  kubelet?: TlsMaterial;
}

/** The embedded Kubernetes API. */
export interface KubeApi extends Service {
  readonly health: Health;
  /** After start: the address of each listener, in the order of the configuration. */
  readonly addresses: readonly (AddressInfo | string | null)[];
  /** Serves with this certificate and believes these CAs from now on; open connections stay, and are judged anew. */
  renewTls(material: TrustedCas & { serving: { cert: string; key: string } }): void;
}

export function createKubeApi(config: KubeApiConfig, deps?: Partial<Dependencies>): KubeApi {
  return new KubeApiService(config, withDefaults(deps));
}

/** How long the first contact with the datastore may take before start gives up. */
const startTimeoutMs = 30_000;
const startRetryMs = 50;

class KubeApiService implements KubeApi {
  readonly health = new Health();
  readonly #config: KubeApiConfig;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;
  readonly #etcd: EtcdClient;
  readonly #context: ApiContext;
  readonly #clusterIps: ClusterIps;
  readonly #authenticator: RequestAuthenticator;
  readonly #dispatcher: Dispatcher;
  readonly #authorizer: Authorizer;
  readonly #nodes: KubeletConnections;
  readonly #listeners: readonly Listener[];

  constructor(config: KubeApiConfig, deps: Dependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
    this.#etcd = createEtcdClient(config.etcd);
    const catalog = new KindCatalog();
    const store = new ObjectStore(this.#etcd, new TtlLeases(this.#etcd, deps.clock));
    this.#clusterIps = new ClusterIps(store, catalog, config.serviceCidr);
    this.#context = {
      catalog,
      store,
      hub: new WatchHub(this.#etcd),
      clock: deps.clock,
      clusterIps: this.#clusterIps,
      nodeRestriction: new NodeRestriction(store, catalog),
    };
    this.#nodes = new KubeletConnections(store, catalog, { egress: config.egress, kubelet: config.kubelet });
    const tokens = this.#tokens();
    this.#authorizer = new Authorizer(this.#context, deps.log);
    this.#authenticator = new RequestAuthenticator({
      clientCaPem: config.clientCaPem,
      requestHeaderCaPem: config.requestHeaderCaPem,
      requestHeaderNames: ["system:auth-proxy"],
      tokens,
      bootstrapTokens: new BootstrapTokens(store, catalog, deps.clock),
    });
    this.#dispatcher = new Dispatcher({
      context: this.#context,
      authenticator: this.#authenticator,
      authorizer: this.#authorizer,
      tokens,
      discovery: new Discovery(
        catalog,
        () => `${config.advertise?.address ?? "localhost"}:${config.advertise?.port ?? 443}`,
      ),
      openApi: new OpenApi(catalog),
      health: this.health,
      registry: deps.registry,
      metrics: new RequestMetrics(catalog, deps.clock, deps.registry),
      nodes: this.#nodes,
      log: deps.log,
    });
    this.#listeners = config.listen.map(
      (target) =>
        new Listener(target, {
          request: (request, response, isTrusted) => void this.#dispatcher.handle(request, response, isTrusted),
          upgrade: (request, socket, head, isTrusted) => void this.#upgrade(request, socket, head, isTrusted),
        }),
    );
    this.#addHealthAndMetrics();
  }

  get addresses(): readonly (AddressInfo | string | null)[] {
    return this.#listeners.map((listener) => listener.address);
  }

  renewTls({ serving, ...cas }: TrustedCas & { serving: { cert: string; key: string } }): void {
    this.#authenticator.trust(cas);
    for (const listener of this.#listeners) {
      listener.setTls({ ...serving, ca: cas.clientCaPem + cas.requestHeaderCaPem });
    }
  }

  async start(): Promise<void> {
    this.#lifecycle.onStop("datastore client", () => this.#etcd.close());
    await this.#untilDatastoreAnswers();
    await createEssentials(this.#context);
    this.#lifecycle.onStop("watches", () => this.#context.hub.close());
    await this.#lifecycle.run("authorizer", this.#authorizer);
    for (const listener of this.#listeners) await this.#lifecycle.run("listener", listener);
    const { log, clock } = this.#deps;
    const { advertise } = this.#config;
    if (advertise !== undefined) {
      await this.#lifecycle.run(
        "API endpoints",
        new ApiEndpoints(
          new LiveServers(this.#etcd, advertise),
          new StoredEndpoints(this.#context, advertise, this.#clusterIps.first),
          { clock, log },
        ),
      );
    }
    await this.#lifecycle.run("namespaces", new Namespaces(this.#context, log));
    await this.#lifecycle.run("garbage collector", new GarbageCollector(this.#context, log));
    await this.#lifecycle.run("node health", new NodeHealth(this.#context, log));
    await this.#lifecycle.run("compactor", new Compactor(this.#etcd, clock, log));
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  #tokens(): ServiceAccountTokens | undefined {
    const account = this.#config.serviceAccount;
    if (account === undefined) return undefined;
    try {
      createPrivateKey(account.privateKeyPem);
    } catch (cause) {
      throw new KeelsonError("kube-api/service-account-key", "the service-account key cannot be read", { cause });
    }
    return new ServiceAccountTokens(account, this.#deps.clock, async (namespace, name, uid) => {
      const kind = this.#context.catalog.require("serviceaccounts");
      const current = await this.#context.store.get({ kind, namespace, name });
      return current?.metadata.uid === uid;
    });
  }

  async #untilDatastoreAnswers(): Promise<void> {
    const deadline = performance.now() + startTimeoutMs;
    for (;;) {
      try {
        await this.#context.store.currentRevision();
        return;
      } catch (cause) {
        if (performance.now() > deadline) {
          throw new KeelsonError(
            "kube-api/datastore",
            `the datastore at ${this.#config.etcd.endpoints.join(", ")} does not answer`,
            {
              cause,
              hint: "check that it runs and that its certificates fit",
            },
          );
        }
        await new Promise((resolve) => setTimeout(resolve, startRetryMs));
      }
    }
  }

  async #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, isTrusted: boolean): Promise<void> {
    socket.on("error", () => socket.destroy());
    try {
      const info = parseRequest(request.method ?? "GET", request.url ?? "/");
      if (info === undefined || !info.isResource || info.verb !== "connect")
        throw apiErrors.badRequest("this path takes no upgrade");
      await this.#dispatcher.authorize(info, request, isTrusted);
      await this.#nodes.upgrade(info, request, socket, head);
    } catch (thrown) {
      const error = toApiError(thrown);
      const body = JSON.stringify(error.toStatus());
      this.#deps.log.debug({ error: errorMessage(error) }, "upgrade refused");
      socket.end(
        `HTTP/1.1 ${error.code} ${error.reason}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
    }
  }

  #addHealthAndMetrics(): void {
    this.health.add("etcd", async () => {
      await this.#etcd.range({ key: Buffer.from("/registry/health"), limit: 1 }, { timeoutMs: 1_500 });
      return undefined;
    });
    const catalog = this.#context.catalog;
    new Gauge({
      name: "keelson_kube_api_kinds",
      help: "Kinds that the embedded API serves",
      registers: [this.#deps.registry],
      collect() {
        this.set(catalog.all.length);
      },
    });
  }
}

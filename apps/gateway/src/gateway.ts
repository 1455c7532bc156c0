import { createSecureContext } from "node:tls";
import { createKubeClient } from "@keelson/kube-client";
import type { Answer, CaBundles, RegistrationClient } from "@keelson/protocol/supervisor";
import {
  type Dependencies,
  Health,
  KeelsonError,
  Lifecycle,
  OpsListener,
  type Service,
  withDefaults,
} from "@keelson/service";
import { GatewayMetrics } from "./gateway-metrics.ts";
import { Authenticator } from "./identity/authenticator.ts";
import { PeerIdentities } from "./identity/peer-identities.ts";
import { InFlight } from "./limits/in-flight.ts";
import { ListenerCertificate } from "./listener/listener-certificate.ts";
import { ListenerSecret } from "./listener/listener-secret.ts";
import { PublicPort, type PublicPortOptions } from "./listener/public-port.ts";
import { contextOptions, type PublicPortTls } from "./listener/tls-context.ts";
import { Router } from "./router.ts";
import { createTunnelHub, type TunnelHub, type TunnelHubOptions } from "./tunnel/index.ts";
import { KubeApiProxy, type KubeApiProxyOptions } from "./upstream/kube-api-proxy.ts";
import { type KubeApiTarget, Upstreams } from "./upstream/upstreams.ts";

/** Limits of one gateway process; every one has a default. */
export interface GatewayLimits extends Omit<PublicPortOptions, "host" | "port">, KubeApiProxyOptions {
  /** Agent-class requests at work at once: GET, HEAD and OPTIONS (20, as newest K3s). */
  agentReads: number;
  /** Agent-class requests at work at once: all other methods (10, as newest K3s). */
  agentWrites: number;
  /** Agent-class requests of each kind that may wait for a place before the next is told to retry (200). */
  agentWaiting: number;
  /** How long one of them may wait (3 s; agents give up 10 s after they began to connect). */
  agentMaxWaitMs: number;
}

export interface GatewayConfig {
  listen: { host: string; port: number };
  /** Signs and verifies: a function call in one process, mutual TLS when scaled apart. */
  registration: RegistrationClient;
  kubeApi: KubeApiTarget;
  tunnel?: TunnelHubOptions;
  /** Folder of `dynamic-cert.json`; left out, the listener certificate lives in memory. */
  listenerDirectory?: string;
  /** Folder behind `/static/`. */
  staticDirectory?: string;
  /** The document of `/db/info`; left out where this server runs no etcd member. */
  dbInfo?: () => Promise<string>;
  /** What `/db/snapshot` is asked to do; left out likewise. */
  dbSnapshot?: (requestJson: string) => Promise<Answer<string>>;
  /** Plain-HTTP listener with the gateway's own health checks and metrics. */
  ops?: { host: string; port: number };
  limits?: Partial<GatewayLimits>;
  /** How long requests under way may take to finish when the gateway stops (10 s). */
  drainTimeoutMs?: number;
}

/** The supervisor gateway: the one public port of a server. */
export interface Gateway extends Service {
  /** After start: where the public port listens. */
  readonly address: { host: string; port: number };
  /** After start: where the operators' listener is, if there is one. */
  readonly opsAddress: { host: string; port: number } | undefined;
  readonly tunnel: TunnelHub;
  readonly health: Health;
  /** Takes up CAs and configured names that have changed, at once instead of within a minute. */
  refresh(): Promise<void>;
}

const defaultLimits: GatewayLimits = {
  connectionsPerAddress: 16_384,
  handshakesPerAddress: 2_048,
  handshakeTimeoutMs: 10_000,
  headersTimeoutMs: 15_000,
  idleTimeoutMs: 120_000,
  maxHeaderBytes: 64 * 1024,
  maxBodyBytes: 3 * 1024 * 1024,
  bodyIdleTimeoutMs: 30_000,
  agentReads: 20,
  agentWrites: 10,
  agentWaiting: 200,
  agentMaxWaitMs: 3_000,
};

/** How often CAs are compared with what is in use; a change made through this gateway is taken up at once. */
const caCheckIntervalMs = 60_000;

export function createGateway(config: GatewayConfig, deps?: Partial<Dependencies>): Gateway {
  return new GatewayService(config, withDefaults(deps));
}

class GatewayService implements Gateway {
  readonly tunnel: TunnelHub;
  readonly health = new Health();
  readonly #config: GatewayConfig;
  readonly #limits: GatewayLimits;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;
  readonly #peers: PeerIdentities;
  readonly #certificate: ListenerCertificate;
  readonly #kubeApi: KubeApiProxy;
  readonly #upstreams: Upstreams;
  readonly #metrics: GatewayMetrics;
  readonly #readers: InFlight;
  readonly #writers: InFlight;
  #port: PublicPort | undefined;
  #ops: OpsListener | undefined;
  #bundles: CaBundles | undefined;

  constructor(config: GatewayConfig, deps: Dependencies) {
    this.#config = config;
    this.#limits = { ...defaultLimits, ...config.limits };
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
    this.#peers = new PeerIdentities(deps.clock);
    const { agentReads, agentWrites, agentWaiting, agentMaxWaitMs } = this.#limits;
    const waiting = { waiting: agentWaiting, maxWaitMs: agentMaxWaitMs };
    this.#readers = new InFlight({ limit: agentReads, ...waiting }, deps.clock);
    this.#writers = new InFlight({ limit: agentWrites, ...waiting }, deps.clock);
    this.#metrics = new GatewayMetrics(deps.registry, {
      connections: () => this.#port?.connectionCount ?? 0,
      agentRequests: () => ({
        running: this.#readers.running + this.#writers.running,
        waiting: this.#readers.waiting + this.#writers.waiting,
      }),
      listenerExpiryMs: () => this.#certificate.expiryMs,
    });
    this.#upstreams = new Upstreams(config.kubeApi, deps.clock, (name) => this.#metrics.upstreamFailed(name));
    this.#kubeApi = new KubeApiProxy(this.#upstreams, this.#limits, deps);
    this.tunnel = createTunnelHub(config.tunnel ?? {}, deps);
    const directory = config.listenerDirectory === undefined ? {} : { directory: config.listenerDirectory };
    this.#certificate = new ListenerCertificate(
      config.registration,
      { ...directory, mirror: this.#mirrorListener() },
      () => this.#serveCertificate(),
      deps,
    );
    this.#addHealthChecks();
  }

  get address(): { host: string; port: number } {
    if (this.#port === undefined) throw new KeelsonError("gateway/not-started", "the gateway does not listen yet");
    const { address, port } = this.#port.address;
    return { host: address, port };
  }

  get opsAddress(): { host: string; port: number } | undefined {
    if (this.#ops === undefined) return undefined;
    const { address, port } = this.#ops.address;
    return { host: address, port };
  }

  async start(): Promise<void> {
    const { log, clock, registry } = this.#deps;
    this.#bundles = await this.#config.registration.caBundles();
    this.#peers.trust(this.#bundles.clientCaPem);
    await this.#lifecycle.run("listener certificate", {
      start: () => this.#certificate.start(),
      stop: async () => this.#certificate.stop(),
    });
    this.#lifecycle.onStop("upstream connections", () => this.#upstreams.close());
    await this.#lifecycle.run("tunnel hub", this.tunnel);
    const port = this.#openPort();
    this.#port = port;
    await this.#lifecycle.run("public port", { start: () => port.listen(), stop: () => this.#drain(port) });
    const watch = clock.setInterval(() => {
      this.refresh().catch((error: unknown) => log.warn({ err: error }, "CAs could not be compared"));
    }, caCheckIntervalMs);
    this.#lifecycle.onStop("CA comparison", () => watch.cancel());
    if (this.#config.ops !== undefined) {
      this.#ops = await this.#lifecycle.run(
        "ops listener",
        new OpsListener(this.#config.ops, this.health, registry, log),
      );
    }
    log.info({ address: `${this.address.host}:${this.address.port}` }, "supervisor gateway listens");
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  async refresh(): Promise<void> {
    const bundles = await this.#config.registration.caBundles();
    const before = this.#bundles;
    this.#bundles = bundles;
    if (bundles.clientCaPem !== before?.clientCaPem) {
      this.#peers.trust(bundles.clientCaPem);
      this.#serveCertificate();
      this.#deps.log.info("client CA changed: client certificates are now verified against the new bundle");
    }
    if (bundles.serverCaPem !== before?.serverCaPem) await this.#certificate.renew();
  }

  /** Where this gateway has a client of the API, the certificate is also a Secret there. */
  #mirrorListener(): (secretJson: string) => void {
    const target = this.#config.tunnel?.kubeApi;
    if (target === undefined) return () => {};
    const client = createKubeClient({ ...target, userAgent: "keelson-gateway" });
    const secret = new ListenerSecret(client, this.#deps);
    this.#lifecycle.onStop("listener Secret", () => {
      secret.stop();
      client.close();
    });
    return (secretJson) => secret.show(secretJson);
  }

  #addHealthChecks(): void {
    this.health.add("kube-api", () => this.#upstreams.problem());
    this.health.add("registration", async () => {
      const answer = await this.#config.registration.readiness();
      return answer.ok ? undefined : answer.refusal.message;
    });
    this.health.add("listener-certificate", () =>
      this.#certificate.expiryMs > this.#deps.clock.now() ? undefined : "the listener certificate has expired",
    );
  }

  #openPort(): PublicPort {
    const { log, clock } = this.#deps;
    const { listen, registration, staticDirectory, dbInfo, dbSnapshot, kubeApi } = this.#config;
    const router = new Router({
      authenticator: new Authenticator(registration, this.#peers, clock),
      readers: this.#readers,
      writers: this.#writers,
      metrics: this.#metrics,
      handlers: {
        registration,
        caBundles: () => this.#caBundles(),
        staticDirectory,
        dbInfo,
        dbSnapshot,
        renewListener: () => this.#certificate.renew(),
        casReplaced: () => this.refresh(),
        log,
        clock,
      },
      kubeApi: this.#kubeApi,
      kubeApiTrustsUs: "socketPath" in kubeApi,
      tunnel: this.tunnel,
      learnAddress: (address) => void this.#certificate.ensure(address),
      log,
    });
    return new PublicPort(
      { ...this.#limits, ...listen },
      this.#tls(),
      {
        request: (req, res, peer) => router.request(req, res, peer),
        upgrade: (req, socket, head) => router.upgrade(req, socket, head),
        connect: (req, socket, head) => router.connect(req, socket, head),
        acceptsUpgrade: (req) => router.acceptsUpgrade(req),
        beforeHandshake: (localAddress) => this.#certificate.ensure(localAddress),
        secureContext: async (serverName) => {
          const grown = this.#certificate.ensure(serverName);
          if (grown === undefined) return undefined;
          await grown;
          return createSecureContext(contextOptions(this.#tls()));
        },
      },
      { log, clock },
    );
  }

  #caBundles(): CaBundles {
    if (this.#bundles === undefined) throw new KeelsonError("gateway/not-started", "the CAs are not known yet");
    return this.#bundles;
  }

  #tls(): PublicPortTls {
    return { ...this.#certificate.pem, clientCa: this.#caBundles().clientCaPem };
  }

  #serveCertificate(): void {
    this.#port?.setTls(this.#tls());
  }

  async #drain(port: PublicPort): Promise<void> {
    const drained = port.drain(this.#config.drainTimeoutMs ?? 10_000);
    this.#kubeApi.endWatches();
    await Promise.all([drained, this.tunnel.stop()]);
  }
}

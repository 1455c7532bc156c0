import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { createHttpsProbe, formatAddress, type HealthProbe } from "@keelson/load-balancer";
import { type Dependencies, errorMessage, type Service, type Timer } from "@keelson/service";

interface Endpoints extends KubeObject {
  subsets?: { addresses?: { ip: string }[]; ports?: { port: number }[] }[];
}

/** One server of the cluster as this one sees it; moments are of the monotonic clock. */
export interface PeerServer {
  address: string;
  own: boolean;
  /** In the endpoints of `default/kubernetes`: its lease is fresh. */
  listed: boolean;
  /** Whether it answers us, and since when it does or does not; of ourselves, since when we are listed or not. */
  answers: boolean;
  sinceMs: number;
  reason: string;
}

const probeIntervalMs = 2_000;
const probeTimeoutMs = 1_500;
/** A server that is down and off the list is remembered this long. */
const rememberMs = 3_600_000;

/** Follows the servers of the cluster and asks each one whether it answers: a server knows first when another is gone. */
export class PeerServers implements Service {
  readonly #own: string;
  readonly #deps: Dependencies;
  readonly #informer: Informer<Endpoints>;
  readonly #probe: HealthProbe;
  readonly #servers = new Map<string, PeerServer>();
  #timer: Timer | undefined;
  #lastProbe = Promise.resolve();

  /** `own` is our advertised `host:port`. */
  constructor(client: KubeClient, own: string, ca: () => string | undefined, deps: Dependencies) {
    this.#own = own;
    this.#deps = deps;
    this.#probe = createHttpsProbe({ ca });
    this.#informer = createInformer<Endpoints>(client, resources.endpoints, {
      namespace: "default",
      fieldSelector: "metadata.name=kubernetes",
      ...deps,
    });
  }

  async start(): Promise<void> {
    this.#informer.start();
    this.#timer = this.#deps.clock.setInterval(() => {
      this.#lastProbe = this.#round();
    }, probeIntervalMs);
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    this.#informer.stop();
    this.#probe.close();
    await this.#lastProbe;
  }

  list(): readonly PeerServer[] {
    return [...this.#servers.values()].sort((a, b) => a.address.localeCompare(b.address));
  }

  /** Never rejects. */
  async #round(): Promise<void> {
    this.#followList();
    const others = [...this.#servers.values()].filter(({ own }) => !own);
    await Promise.all(others.map((server) => this.#ask(server)));
  }

  #followList(): void {
    const nowMs = this.#deps.clock.monotonic();
    const listed = new Set(
      this.#informer
        .list()
        .flatMap(({ subsets = [] }) => subsets)
        .flatMap(({ addresses = [], ports }) => addresses.map(({ ip }) => formatAddress(ip, ports?.[0]?.port ?? 443))),
    );
    // Cut off from the datastore, the list that we have is old; an empty one only says that we know nothing yet.
    for (const server of this.#servers.values()) {
      if (server.own && server.listed !== listed.has(server.address)) server.sinceMs = nowMs;
      server.listed = listed.has(server.address);
      const forgotten = server.answers || nowMs - server.sinceMs > rememberMs;
      if (!server.listed && !server.own && forgotten) this.#servers.delete(server.address);
    }
    for (const address of listed) {
      if (this.#servers.has(address)) continue;
      const own = address === this.#own;
      this.#servers.set(address, {
        address,
        own,
        listed: true,
        answers: true,
        sinceMs: nowMs,
        reason: own ? "this server" : "listed by the cluster",
      });
    }
  }

  async #ask(server: PeerServer): Promise<void> {
    const signal = AbortSignal.timeout(probeTimeoutMs);
    try {
      await this.#probe.check(server.address, signal);
      this.#enter(server, true, "it answers");
    } catch (error) {
      const why = signal.aborted ? `${errorMessage(error)} within ${probeTimeoutMs} ms` : errorMessage(error);
      this.#enter(server, false, why);
    }
  }

  #enter(server: PeerServer, answers: boolean, reason: string): void {
    if (server.answers !== answers) server.sinceMs = this.#deps.clock.monotonic();
    server.answers = answers;
    server.reason = reason;
  }
}

import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { type Dependencies, errorCode, errorMessage, KeelsonError, type Timer, withDefaults } from "@keelson/service";
import { formatAddress, parseServerUrl, type RegistrationAddress, resolveHost } from "./address.ts";
import { dialFirst } from "./dialer.ts";
import { HealthChecks } from "./health-checks.ts";
import type { LoadBalancer, LoadBalancerConfig } from "./load-balancer-config.ts";
import { BalancerMetrics } from "./metrics.ts";
import { relay } from "./relay.ts";
import type { ServerConnection } from "./server-connection.ts";
import { type ListEffect, ServerList, type ServerStatus } from "./server-list.ts";
import { StateFile } from "./state-file.ts";

export function createLoadBalancer(config: LoadBalancerConfig, deps?: Partial<Dependencies>): LoadBalancer {
  return new TcpLoadBalancer(config, withDefaults(deps));
}

/**
 * How long a dial to a server that has just broken all its connections has the field for itself. Its process is gone, or its
 * whole host: then nobody refuses the dial, and waiting for an answer is all that a client would notice of the loss.
 */
const suspectHedgeMs = 30;

interface Relayed {
  client: Socket;
  server: Socket;
}

class TcpLoadBalancer implements LoadBalancer {
  readonly #config: LoadBalancerConfig;
  readonly #deps: Dependencies;
  readonly #registration: readonly RegistrationAddress[];
  readonly #list: ServerList;
  readonly #stateFile: StateFile | undefined;
  readonly #metrics: BalancerMetrics;
  readonly #listeners: Server[] = [];
  readonly #relayed = new Map<string, Set<Relayed>>();
  readonly #clients = new Set<Socket>();
  readonly #health: HealthChecks;
  /** What each registration name stood for when it was looked up last. */
  readonly #resolved = new Map<string, readonly string[]>();
  #timers: Timer[] = [];
  #port = 0;
  #stopped = false;

  constructor(config: LoadBalancerConfig, deps: Dependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#registration = config.servers.map(parseServerUrl);
    this.#list = new ServerList(() => deps.clock.monotonic());
    this.#stateFile =
      config.stateFile === undefined ? undefined : new StateFile(config.stateFile, config.servers.join(","), deps.log);
    const { probe, checkTimeoutMs = 1_500 } = config;
    this.#health = new HealthChecks(probe, checkTimeoutMs, deps.clock, (address, result, reason) =>
      this.#apply(this.#list.checked(address, result, reason)),
    );
    this.#metrics = new BalancerMetrics(config.name, deps.registry, () => this.servers());
  }

  get port(): number {
    return this.#port;
  }

  get connections(): number {
    return this.#clients.size;
  }

  servers(): readonly ServerStatus[] {
    return this.#list.status();
  }

  async start(): Promise<void> {
    const remembered = (await this.#stateFile?.read()) ?? [];
    // Literal addresses are there at once; names follow when they are resolved, without holding up the start.
    this.#apply(this.#list.setRegistration(this.#registration.map(({ host, port }) => formatAddress(host, port))));
    this.#apply(this.#list.setListed(remembered));
    await this.#listen();
    const { clock } = this.#deps;
    this.#timers = [
      clock.setInterval(() => this.#checkAll(), this.#config.checkIntervalMs ?? 1_000),
      clock.setInterval(() => void this.#resolveNames(), this.#config.resolveIntervalMs ?? 30_000),
    ];
    void this.#resolveNames();
    this.#checkAll();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#timers) timer.cancel();
    this.#health.stop();
    const closed = this.#listeners.map((server) => new Promise<void>((resolve) => server.close(() => resolve())));
    for (const client of this.#clients) client.destroy();
    await Promise.all(closed);
    await this.#stateFile?.flushed();
  }

  setServers(addresses: readonly string[]): void {
    this.#apply(this.#list.setListed(addresses));
    this.#checkAll();
  }

  checkNow(address: string): void {
    void this.#health.check(address);
  }

  setLeaving(address: string, leaving: boolean): void {
    this.#health.setLeaving(address, leaving);
  }

  // ---- listening ----------------------------------------------------------------------------------------------------

  async #listen(): Promise<void> {
    const [first = "127.0.0.1", ...others] = this.#config.listen.hosts ?? ["127.0.0.1", "::1"];
    const server = await this.#listenOn(first, this.#config.listen.port);
    this.#port = (server.address() as AddressInfo).port;
    for (const host of others) {
      try {
        await this.#listenOn(host, this.#port);
      } catch (error) {
        // A host without IPv6 has no ::1; the first address is the one that kubeconfigs name.
        this.#deps.log.debug({ host, err: error }, "load balancer does not listen on this address");
      }
    }
  }

  #listenOn(host: string, port: number): Promise<Server> {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true }, (client) =>
      this.#serve(client),
    );
    return new Promise((resolve, reject) => {
      server.once("error", (error) => {
        const busy = errorCode(error) === "EADDRINUSE";
        reject(
          new KeelsonError("load-balancer/listen", `load balancer cannot listen on ${formatAddress(host, port)}`, {
            hint: busy
              ? "another agent may run on this host: stop it, or choose another --lb-server-port"
              : "choose another --lb-server-port",
            cause: error,
          }),
        );
      });
      server.listen({ host, port, backlog: 1024 }, () => {
        this.#listeners.push(server);
        resolve(server);
      });
    });
  }

  #serve(client: Socket): void {
    this.#clients.add(client);
    const gone = (): void => {
      this.#clients.delete(client);
    };
    client.once("close", gone);
    client.on("error", () => {});
    const { clock, log } = this.#deps;
    const startedMs = clock.monotonic();
    this.#dial().then(
      ({ address, connection }) => {
        this.#metrics.dialled("success", clock.monotonic() - startedMs);
        this.#join(client, connection, address);
      },
      (error: unknown) => {
        this.#metrics.dialled("error", clock.monotonic() - startedMs);
        log.warn({ error: errorMessage(error) }, "a client's connection was closed: no server answers");
        gone(); // a reset may come without a close event
        client.resetAndDestroy();
      },
    );
  }

  #dial(): Promise<{ address: string; connection: ServerConnection }> {
    const { dialTimeoutMs = 2_000, hedgeAfterMs = 250 } = this.#config;
    const candidates = this.#list.candidates();
    const suspect = this.#health.isSuspect(candidates[0] ?? "");
    const options = { timeoutMs: dialTimeoutMs, hedgeAfterMs: suspect ? suspectHedgeMs : hedgeAfterMs };
    return dialFirst(candidates, options, this.#deps.clock, {
      failed: (address, reason) => this.#apply(this.#list.dialFailed(address, reason)),
    });
  }

  #join(client: Socket, connection: ServerConnection, address: string): void {
    const server = connection.socket;
    if (client.destroyed || this.#stopped) {
      server.on("error", () => {});
      server.destroy();
      return;
    }
    this.#health.clear(address);
    const pair: Relayed = { client, server };
    let pairs = this.#relayed.get(address);
    if (pairs === undefined) {
      pairs = new Set();
      this.#relayed.set(address, pairs);
    }
    pairs.add(pair);
    let brokenByServer = false;
    const onServerEnd = (): void => {
      brokenByServer = !client.readableEnded && !client.destroyed;
    };
    server.once("end", onServerEnd);
    server.once("error", onServerEnd);
    relay(client, connection, () => {
      pairs.delete(pair);
      if (brokenByServer && pairs.size === 0 && !this.#stopped) this.#health.suspect(address);
      this.#apply(this.#list.connectionClosed(address));
    });
    this.#apply(this.#list.connectionOpened(address));
  }

  #checkAll(): void {
    for (const { address, state } of this.#list.status()) if (state !== "invalid") void this.#health.check(address);
  }

  // ---- the list -----------------------------------------------------------------------------------------------------

  /** Looks registration names up again: each record is a registration address of its own. Never rejects. */
  async #resolveNames(): Promise<void> {
    const resolve = this.#config.resolve ?? resolveHost;
    const found = await Promise.all(
      this.#registration.map(async ({ host, port }) => {
        const addresses = await resolve(host).catch(() => []);
        if (addresses.length > 0) this.#resolved.set(host, addresses);
        // A name server that is away says nothing of the servers: what was known last stays. Without that the name stands
        // for itself, and each dial asks the system.
        return (this.#resolved.get(host) ?? [host]).map((address) => formatAddress(address, port));
      }),
    );
    if (!this.#stopped) this.#apply(this.#list.setRegistration([...new Set(found.flat())]));
  }

  #closePairs(address: string, pairs: readonly Relayed[], reason: string): void {
    const open = pairs.filter(({ client, server }) => !client.destroyed || !server.destroyed);
    if (open.length === 0) return;
    this.#deps.log.info({ server: address, connections: open.length, reason }, "closing connections to a server");
    for (const { client, server } of open) {
      client.destroy();
      server.destroy();
    }
  }

  #apply(effects: readonly ListEffect[]): void {
    for (const effect of effects) {
      if (effect.kind === "addresses") {
        this.#stateFile?.write(effect.addresses);
        this.#deps.log.info({ servers: effect.addresses }, "servers of the cluster");
      } else if (effect.kind === "close-connections") {
        const pairs = [...(this.#relayed.get(effect.address) ?? [])];
        const close = (): void => this.#closePairs(effect.address, pairs, effect.reason);
        if (effect.graceMs === 0) close();
        else this.#deps.clock.setTimeout(close, effect.graceMs);
      } else if (effect.from !== effect.to) {
        const { address, from, to, reason } = effect;
        if (to === "invalid") this.#health.clear(address);
        const level = to === "failed" ? "warn" : "debug";
        this.#deps.log[level]({ server: address, from, to, reason }, `server is ${to}`);
      }
    }
  }
}

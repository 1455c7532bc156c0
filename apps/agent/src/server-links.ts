import {
  createHttpsProbe,
  createLoadBalancer,
  formatAddress,
  type LoadBalancer,
  parseServerUrl,
} from "@keelson/load-balancer";
import { withoutRoots } from "@keelson/pki/csr";
import { type Dependencies, Lifecycle, type Service } from "@keelson/service";
import type { AgentConfig } from "./config.ts";
import type { Joined } from "./join/join.ts";
import type { SupervisorClient } from "./join/supervisor-client.ts";
import type { AgentLayout } from "./layout.ts";
import type { Membership } from "./membership.ts";
import { askForServers, ServerDiscovery } from "./servers.ts";
import { LostServers } from "./status/lost-servers.ts";
import { TunnelSet } from "./tunnel/tunnel-set.ts";

/**
 * An agent's ways to the servers: the load balancer for clients of this host, which is there from the start, and once the
 * node has joined a tunnel to each server. Both follow the cluster's list, and what happens to a tunnel the balancer hears.
 */
export class ServerLinks implements Service {
  readonly balancer: LoadBalancer;
  readonly lost: LostServers;
  readonly #config: AgentConfig;
  readonly #joined: () => Joined | undefined;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;
  #tunnels: TunnelSet | undefined;
  #stopped = false;
  #markTunnel: () => void = () => {};

  /** `joined` is asked at each connection, so that renewed certificates count at once. */
  constructor(config: AgentConfig, layout: AgentLayout, joined: () => Joined | undefined, deps: Dependencies) {
    this.#config = config;
    this.#joined = joined;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
    this.lost = new LostServers(deps.clock);
    this.balancer = createLoadBalancer(
      {
        name: "k3s-agent-load-balancer",
        servers: config.servers,
        listen: { port: config.lbPort },
        stateFile: layout.loadBalancerState,
        probe: createHttpsProbe({ ca: () => joined()?.serverCaPem }),
      },
      deps,
    );
  }

  get tunnels(): TunnelSet | undefined {
    return this.#tunnels;
  }

  async start(): Promise<void> {
    await this.#lifecycle.run("load balancer", this.balancer);
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#tunnels?.stop();
    await this.#lifecycle.stop();
  }

  /** Opens the tunnels to the servers known so far; resolves when the first is open. */
  openTunnels(membership: Membership): Promise<void> {
    const { clock, log } = this.#deps;
    this.#tunnels = new TunnelSet({
      tls: () => {
        const { serverCaPem, leaves } = this.#joined()!;
        const { certPem, keyPem } = leaves["client-kubelet"];
        return { ca: serverCaPem, cert: withoutRoots(certPem), key: keyPem };
      },
      clock,
      log,
      policy: {
        kubeletPort: () => membership.kubeletPort,
        kubeletHost: () => membership.kubeletHost,
        allowed: () => membership.allowed,
        clock,
      },
      onChange: (address, event) => this.#onTunnel(address, event),
    });
    const open = new Promise<void>((resolve) => {
      this.#markTunnel = resolve;
    });
    const listed = this.balancer.servers().filter((server) => server.listed);
    const known = listed.length > 0 ? listed.map(({ address }) => address) : this.#registrationAddresses();
    this.#tunnels.reconcile(known);
    return open;
  }

  /** Learns the servers as soon as possible: asks the supervisor, then follows the Kubernetes API. */
  async follow(supervisor: SupervisorClient, membership: Membership): Promise<void> {
    this.#setServers(await askForServers(supervisor, this.#deps.log));
    if (this.#stopped) return;
    const follow = (addresses: readonly string[]): void => this.#setServers(addresses);
    const discovery = new ServerDiscovery(membership.controllerClient, follow, this.#deps);
    this.#lifecycle.onStop("server discovery", () => discovery.stop());
    discovery.start();
  }

  #registrationAddresses(): readonly string[] {
    return this.#config.servers.map((url) => {
      const { host, port } = parseServerUrl(url);
      return formatAddress(host, port);
    });
  }

  #onTunnel(address: string, event: "open" | "closed" | "leaving"): void {
    this.balancer.setLeaving(address, event === "leaving");
    // Whatever happened to the tunnel happened to its server, or to the way there: the balancer looks at once.
    this.balancer.checkNow(address);
    if (event !== "open") return;
    this.#markTunnel();
    this.#config.report?.("tunnel", `to ${address}`);
  }

  #setServers(addresses: readonly string[]): void {
    if (this.#stopped || addresses.length === 0) return;
    this.lost.update(this.balancer, addresses);
    this.balancer.setServers(addresses);
    this.#tunnels?.reconcile(addresses);
  }
}

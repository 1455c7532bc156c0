import { mkdir } from "node:fs/promises";
import { join as joinPath } from "node:path";
import {
  createHttpsProbe,
  createLoadBalancer,
  formatAddress,
  type LoadBalancer,
  parseServerUrl,
} from "@keelson/load-balancer";
import { parseToken, type Token } from "@keelson/secret-format";
import {
  Backoff,
  type Dependencies,
  errorCode,
  errorMessage,
  KeelsonError,
  Lifecycle,
  readFileIfExists,
  type Service,
  sleep,
  withDefaults,
} from "@keelson/service";
import { defaultNodeIp, nodeId, normalizeNodeName } from "./identity/node-name.ts";
import { nodePassword } from "./identity/node-password.ts";
import { authorizationOf, type Joined, type JoinInput, join } from "./join/join.ts";
import { CertificateRenewal } from "./join/renewal.ts";
import { SupervisorClient } from "./join/supervisor-client.ts";
import { writeJoinFiles } from "./join/write-files.ts";
import { AgentLayout } from "./layout.ts";
import { Membership } from "./membership.ts";
import { parseApiServers, ServerDiscovery } from "./servers.ts";
import { type AgentStatus, certificateStatus, type JoinState, problemsOf } from "./status/status.ts";
import { StatusSocket } from "./status/status-socket.ts";
import { notifySystemd } from "./systemd-notify.ts";
import { TunnelSet } from "./tunnel/tunnel-set.ts";

export interface AgentConfig {
  /** Registration addresses, `https://host:port`. */
  servers: readonly string[];
  /** The cluster's token; or a file that holds it, waited for until it is there. */
  token?: string;
  tokenFile?: string;
  dataDir: string;
  nodeName: string;
  withNodeId?: boolean;
  nodePasswordFile: string;
  /** Port of the local load balancer; 0 picks one. */
  lbPort: number;
  /** Addresses of the node (the host's first). */
  nodeIps: readonly string[];
  nodeExternalIps?: readonly string[];
  nodeLabels?: Readonly<Record<string, string>>;
  nodeTaints?: readonly { key: string; value?: string; effect: string }[];
  /** A kubelet to run; without one the agent keeps the Node itself. */
  kubelet?: KubeletConfig | undefined;
  /** Told what comes up, for people who watch. */
  report?: (step: "agent" | "tunnel" | "node", detail: string) => void;
}

export interface KubeletConfig {
  path: string;
  args: readonly string[];
  runtimeEndpoint: string | undefined;
  rootDir: string;
}

/** The agent proxy of a node. */
export interface Agent extends Service {
  /** After start: the name the node joins with. */
  readonly nodeName: string;
  /** After start: where clients of this host reach the API, `https://127.0.0.1:6444`. */
  readonly loadBalancerUrl: string;
  /** Resolves when the node is in the cluster and its tunnel is open. */
  readonly ready: Promise<void>;
  status(): AgentStatus;
}

const tokenFilePollMs = 2_000;

export function createAgent(config: AgentConfig, deps?: Partial<Dependencies>): Agent {
  return new AgentProxy(config, withDefaults(deps));
}

/**
 * Start-up in the order of the reference, with nothing waiting for what it does not need: the load balancer first, so that
 * clients of this host may connect; then the join; then, side by side, the tunnels, the Node and the files. Whatever fails
 * is said once in a sentence and tried again with back-off, for ever: an agent never gives up its node.
 */
class AgentProxy implements Agent {
  readonly ready: Promise<void>;
  readonly #config: AgentConfig;
  readonly #deps: Dependencies;
  readonly #layout: AgentLayout;
  readonly #lifecycle: Lifecycle;
  readonly #stop = new AbortController();
  #nodeName: string;
  #balancer: LoadBalancer | undefined;
  #tunnels: TunnelSet | undefined;
  #membership: Membership | undefined;
  #joined: Joined | undefined;
  #joinState: JoinState = { state: "joining", attempt: 0, error: undefined };
  #tokenState: AgentStatus["token"] = "unknown";
  #markReady: () => void = () => {};
  #markTunnel: () => void = () => {};

  constructor(config: AgentConfig, deps: Dependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#layout = new AgentLayout(config.dataDir);
    this.#lifecycle = new Lifecycle(deps.log);
    this.#nodeName = config.nodeName;
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve;
    });
  }

  get nodeName(): string {
    return this.#nodeName;
  }

  get loadBalancerUrl(): string {
    return `https://${formatAddress("127.0.0.1", this.#balancer?.port ?? this.#config.lbPort)}`;
  }

  async start(): Promise<void> {
    const { nodeName, withNodeId, nodePasswordFile, token } = this.#config;
    if (token !== undefined) parseToken(token); // a malformed token is the user's to mend, not to be retried
    await this.#makeFolder();
    const password = await nodePassword(nodePasswordFile);
    const suffix = withNodeId === true ? `-${await nodeId(joinPath(nodePasswordFile, "..", "id"))}` : "";
    this.#nodeName = normalizeNodeName(`${nodeName}${suffix}`);
    const probe = createHttpsProbe({ ca: () => this.#joined?.serverCaPem });
    this.#balancer = await this.#lifecycle.run(
      "load balancer",
      createLoadBalancer(
        {
          name: "k3s-agent-load-balancer",
          servers: this.#config.servers,
          listen: { port: this.#config.lbPort },
          stateFile: this.#layout.loadBalancerState,
          probe,
        },
        this.#deps,
      ),
    );
    await this.#lifecycle.run(
      "status socket",
      new StatusSocket(this.#layout.statusSocket, () => this.status(), this.#deps),
    );
    this.#deps.log.info({ node: this.#nodeName, loadBalancer: this.loadBalancerUrl }, "agent started");
    this.#config.report?.("agent", `${this.#nodeName}, load balancer on ${this.loadBalancerUrl}`);
    this.#run(password).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#deps.log.error({ err: error }, "agent failed");
    });
  }

  async #makeFolder(): Promise<void> {
    try {
      await mkdir(this.#layout.root, { recursive: true, mode: 0o755 });
    } catch (cause) {
      throw new KeelsonError("agent/data-dir", `the agent's folder ${this.#layout.root} cannot be made`, {
        hint: "run as root, or choose another folder with --data-dir",
        cause,
      });
    }
  }

  async stop(): Promise<void> {
    notifySystemd("STOPPING=1", "stopping");
    this.#stop.abort();
    this.#tunnels?.stop();
    await this.#lifecycle.stop();
  }

  status(): AgentStatus {
    const { clock } = this.#deps;
    const now = clock.monotonic();
    const servers = this.#balancer?.servers() ?? [];
    const status: Omit<AgentStatus, "problems"> = {
      nodeName: this.#nodeName,
      registrationServers: this.#config.servers,
      token: this.#tokenState,
      join: this.#joinState,
      loadBalancer: {
        address: this.loadBalancerUrl,
        connections: this.#balancer?.connections ?? 0,
        servers: servers.map((server) => ({ ...server, ageMs: Math.round(now - server.sinceMs) })),
      },
      tunnels: this.#tunnels?.status() ?? [],
      node: this.#membership?.status ?? { state: "registering", reason: undefined },
      certificates: this.#joined === undefined ? [] : certificateStatus(this.#joined.leaves, clock.now()),
      clockOffsetMs: this.#joined?.clockSkew?.skewMs,
    };
    return { ...status, problems: problemsOf(status) };
  }

  /** Everything after the load balancer listens. */
  async #run(password: string): Promise<void> {
    const token = await this.#token();
    const ips = this.#config.nodeIps.length > 0 ? this.#config.nodeIps : [defaultNodeIp()];
    const joined = await this.#joinWithRetries(token, password, ips);
    this.#joined = joined;
    const membership = new Membership(
      {
        config: this.#config,
        nodeName: this.#nodeName,
        nodeIps: ips,
        joined,
        layout: this.#layout,
        server: this.loadBalancerUrl,
      },
      this.#deps,
    );
    this.#membership = membership;
    const written = this.#writeFiles(joined);
    const tunnelOpen = new Promise<void>((resolve) => {
      this.#markTunnel = resolve;
    });
    this.#startTunnels(membership);
    // A kubelet reads the files when it starts; a Node that the agent keeps does not wait for the disk.
    if (this.#config.kubelet !== undefined) await written;
    await Promise.all([
      this.#lifecycle.run("node", membership),
      this.#followServers(joined, token, membership),
      written,
    ]);
    this.#keepCertificates(() => join(this.#joinInput(token, password, ips)));
    await Promise.all([tunnelOpen, membership.ready]);
    this.#config.report?.("node", `${this.#nodeName} is Ready`);
    notifySystemd("READY=1", `node ${this.#nodeName} is ready`);
    this.#markReady();
  }

  /** A full disk is no reason to stay outside: the node works from memory, and the files follow when there is room. */
  async #writeFiles(joined: Joined): Promise<void> {
    const backoff = new Backoff({ initialMs: 1_000, maxMs: 30_000 });
    for (;;) {
      try {
        return await writeJoinFiles(joined, this.#layout, this.loadBalancerUrl);
      } catch (error) {
        this.#deps.log.warn({ error: errorMessage(error) }, "certificates and kubeconfigs cannot be written yet");
        await sleep(backoff.next(), this.#stop.signal);
      }
    }
  }

  #joinInput(token: Token, password: string, ips: readonly string[]): JoinInput {
    const node = { name: this.#nodeName, password, ips: [...ips, ...(this.#config.nodeExternalIps ?? [])] };
    return { address: { host: "127.0.0.1", port: this.#balancer!.port }, token, node, layout: this.#layout };
  }

  #keepCertificates(fetch: () => Promise<Joined>): void {
    const renew = async (): Promise<void> => {
      const renewed = await fetch();
      await writeJoinFiles(renewed, this.#layout, this.loadBalancerUrl);
      this.#joined = renewed;
      await this.#membership?.useCertificates(renewed);
    };
    const renewal = new CertificateRenewal(() => this.#joined!, renew, this.#deps);
    renewal.start();
    this.#lifecycle.onStop("certificate renewal", () => renewal.stop());
  }

  async #token(): Promise<Token> {
    const { token, tokenFile } = this.#config;
    if (token !== undefined) return parseToken(token);
    let said = false;
    for (;;) {
      const text = (await readFileIfExists(tokenFile ?? ""))?.trim();
      if (text !== undefined && text !== "") return parseToken(text);
      if (!said) this.#deps.log.info({ file: tokenFile }, "waiting for the token file");
      said = true;
      await sleep(tokenFilePollMs, this.#stop.signal);
    }
  }

  async #joinWithRetries(token: Token, password: string, ips: readonly string[]): Promise<Joined> {
    const backoff = new Backoff({ initialMs: 500, maxMs: 10_000 });
    for (let attempt = 1; ; attempt++) {
      this.#stop.signal.throwIfAborted();
      try {
        const joined = await join(this.#joinInput(token, password, ips));
        this.#tokenState = "ok";
        this.#joinState = { state: "joined" };
        return joined;
      } catch (error) {
        this.#joinFailed(attempt, this.#explain(error));
        await sleep(backoff.next(), this.#stop.signal);
      }
    }
  }

  /** A lost connection to the balancer says nothing; what the balancer met at the servers does. */
  #explain(error: unknown): unknown {
    if (errorCode(error) !== "supervisor/unreachable") return error;
    const failed = (this.#balancer?.servers() ?? []).map(({ address, reason }) => `${address} (${reason})`);
    return new KeelsonError("join/no-server", `no server answers: ${failed.join(", ")}`, {
      hint: "start a server, or check --server and the way to its port",
      cause: error,
    });
  }

  #joinFailed(attempt: number, error: unknown): void {
    const message = error instanceof KeelsonError ? error.message : errorMessage(error);
    const hint = error instanceof KeelsonError ? error.hint : undefined;
    const before = this.#joinState.state === "joining" ? this.#joinState.error?.message : undefined;
    this.#joinState = { state: "joining", attempt, error: { message, hint } };
    if (errorCode(error) === "join/token-rejected" || errorCode(error) === "join/ca-pin") this.#tokenState = "rejected";
    if (message !== before)
      this.#deps.log.warn({ ...(hint === undefined ? {} : { hint }) }, `cannot join yet: ${message}`);
  }

  #startTunnels(membership: Membership): void {
    const { clock, log } = this.#deps;
    this.#tunnels = new TunnelSet({
      tls: () => {
        const { serverCaPem, leaves } = this.#joined!;
        return { ca: serverCaPem, cert: leaves["client-kubelet"].certPem, key: leaves["client-kubelet"].keyPem };
      },
      clock,
      log,
      policy: {
        kubeletPort: () => membership.kubeletPort,
        kubeletHost: () => undefined,
        allowed: () => membership.allowed,
        clock,
      },
      onChange: (address, event) => this.#onTunnel(address, event),
    });
    const listed = this.#balancer?.servers().filter(({ listed }) => listed) ?? [];
    const known = listed.length > 0 ? listed.map(({ address }) => address) : this.#registrationAddresses();
    this.#tunnels.reconcile(known);
  }

  #registrationAddresses(): readonly string[] {
    return this.#config.servers.map((url) => {
      const { host, port } = parseServerUrl(url);
      return formatAddress(host, port);
    });
  }

  #onTunnel(address: string, event: "open" | "closed" | "leaving"): void {
    this.#balancer?.setLeaving(address, event === "leaving");
    // Whatever happened to the tunnel happened to its server, or to the way there: the balancer looks at once.
    this.#balancer?.checkNow(address);
    if (event !== "open") return;
    this.#markTunnel();
    this.#config.report?.("tunnel", `to ${address}`);
  }

  /** The servers, as soon as possible: asked of the supervisor, then followed through the Kubernetes API. */
  async #followServers(joined: Joined, token: Token, membership: Membership): Promise<void> {
    const client = new SupervisorClient({
      host: "127.0.0.1",
      port: this.#balancer!.port,
      ca: joined.serverCaPem,
      authorization: authorizationOf(token),
    });
    try {
      const answer = await client.send({ path: "/v1-k3s/apiservers" });
      if (answer.status === 200) this.#setServers(parseApiServers(answer.body));
    } catch (error) {
      this.#deps.log.debug(
        { error: errorMessage(error) },
        "the server has no list of servers; its endpoints will tell",
      );
    } finally {
      client.close();
    }
    const { clock, log } = this.#deps;
    const discovery = new ServerDiscovery(membership.controllerClient, (addresses) => this.#setServers(addresses), {
      clock,
      log,
    });
    this.#lifecycle.onStop("server discovery", () => discovery.stop());
    discovery.start();
  }

  #setServers(addresses: readonly string[]): void {
    if (this.#stop.signal.aborted) return;
    this.#balancer?.setServers(addresses);
    this.#tunnels?.reconcile(addresses);
  }
}

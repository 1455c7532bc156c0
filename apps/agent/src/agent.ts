import { mkdir } from "node:fs/promises";
import { join as joinPath } from "node:path";
import { formatAddress } from "@keelson/load-balancer";
import { parseToken } from "@keelson/secret-format";
import {
  Backoff,
  type Dependencies,
  errorMessage,
  folderOwnership,
  KeelsonError,
  Lifecycle,
  type Service,
  StatusSocket,
  sleep,
  withDefaults,
} from "@keelson/service";
import type { AgentConfig } from "./config.ts";
import { defaultNodeIp, nodeId, normalizeNodeName } from "./identity/node-name.ts";
import { nodePassword } from "./identity/node-password.ts";
import type { Joined } from "./join/join.ts";
import { Joiner } from "./join/joiner.ts";
import { CertificateRenewal } from "./join/renewal.ts";
import { writeJoinFiles } from "./join/write-files.ts";
import { AgentLayout } from "./layout.ts";
import { Membership } from "./membership.ts";
import { ServerLinks } from "./server-links.ts";
import { type AgentStatus, collectStatus } from "./status/status.ts";

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
  readonly #startedAtMs: number;
  readonly #links: ServerLinks;
  readonly #stop = new AbortController();
  #nodeName: string;
  #joiner: Joiner | undefined;
  #joined: Joined | undefined;
  #membership: Membership | undefined;
  #markReady: () => void = () => {};

  constructor(config: AgentConfig, deps: Dependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#layout = new AgentLayout(config.dataDir);
    this.#lifecycle = new Lifecycle(deps.log);
    this.#startedAtMs = deps.clock.now();
    this.#links = new ServerLinks(config, this.#layout, () => this.#joined, deps);
    this.#nodeName = config.nodeName;
    this.ready = new Promise((resolve) => {
      this.#markReady = resolve;
    });
  }

  get nodeName(): string {
    return this.#nodeName;
  }

  get loadBalancerUrl(): string {
    return `https://${formatAddress("127.0.0.1", this.#links.balancer.port)}`;
  }

  async start(): Promise<void> {
    const { nodeName, withNodeId, nodePasswordFile, token, nodeIps } = this.#config;
    if (typeof token === "string") parseToken(token); // a malformed token is the user's to mend, not to be retried
    await this.#makeFolder();
    await this.#lifecycle.run("data folder", folderOwnership(this.#layout.root));
    const password = await nodePassword(nodePasswordFile);
    const suffix = withNodeId === true ? `-${await nodeId(joinPath(nodePasswordFile, "..", "id"))}` : "";
    this.#nodeName = normalizeNodeName(`${nodeName}${suffix}`);
    const { balancer } = await this.#lifecycle.run("ways to the servers", this.#links);
    const ips = nodeIps.length > 0 ? nodeIps : [defaultNodeIp()];
    const joiner = new Joiner(
      { config: this.#config, nodeName: this.#nodeName, password, nodeIps: ips, layout: this.#layout, balancer },
      this.#deps,
    );
    this.#joiner = joiner;
    await this.#lifecycle.run(
      "status socket",
      new StatusSocket(this.#layout.statusSocket, () => this.#checkedStatus(joiner), this.#deps),
    );
    this.#deps.log.info({ node: this.#nodeName, loadBalancer: this.loadBalancerUrl }, "agent started");
    this.#config.report?.("agent", `${this.#nodeName}, load balancer on ${this.loadBalancerUrl}`);
    this.#run(joiner, ips).catch((error: unknown) => {
      if (!this.#stop.signal.aborted) this.#deps.log.error({ err: error }, "agent failed");
    });
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#links.stop();
    await this.#lifecycle.stop();
  }

  status(): AgentStatus {
    return collectStatus(
      {
        nodeName: this.#nodeName,
        startedAtMs: this.#startedAtMs,
        registrationServers: this.#config.servers,
        loadBalancerUrl: this.loadBalancerUrl,
        balancer: this.#links.balancer,
        joiner: this.#joiner,
        joined: this.#joined,
        tunnels: this.#links.tunnels,
        membership: this.#membership,
        lost: this.#links.lost,
      },
      this.#deps.clock,
    );
  }

  /** The status that people ask for: with what a server says of our token and clock right now, if one answers. */
  async #checkedStatus(joiner: Joiner): Promise<AgentStatus> {
    const answers = this.#links.balancer.servers().some(({ state, down }) => state === "active" && down === undefined);
    if (this.#joined !== undefined && answers) await joiner.check(this.#joined);
    return this.status();
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

  /** Everything after the load balancer listens. */
  async #run(joiner: Joiner, nodeIps: readonly string[]): Promise<void> {
    const joined = await joiner.join(this.#stop.signal);
    this.#joined = joined;
    const { nodeName, loadBalancerUrl: server } = this;
    const input = { config: this.#config, nodeName, nodeIps, joined, layout: this.#layout, server };
    const membership = new Membership(input, this.#deps);
    this.#membership = membership;
    const written = this.#writeFiles(joined);
    const tunnelOpen = this.#links.openTunnels(membership);
    // A kubelet reads the files when it starts; a Node that the agent keeps does not wait for the disk.
    if (this.#config.kubelet !== undefined) await written;
    const supervisor = joiner.supervisor(joined);
    await Promise.all([
      this.#lifecycle.run("node", membership),
      this.#links.follow(supervisor, membership).finally(() => supervisor.close()),
      written,
    ]);
    this.#keepCertificates(joiner);
    await Promise.all([tunnelOpen, membership.ready]);
    this.#config.report?.("node", `${nodeName} is Ready`);
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

  #keepCertificates(joiner: Joiner): void {
    const renew = async (): Promise<void> => {
      const renewed = await joiner.fetch();
      await writeJoinFiles(renewed, this.#layout, this.loadBalancerUrl);
      this.#joined = renewed;
      await this.#membership?.useCertificates(renewed);
    };
    const renewal = new CertificateRenewal(() => this.#joined!, renew, this.#deps);
    renewal.start();
    this.#lifecycle.onStop("certificate renewal", () => renewal.stop());
  }
}

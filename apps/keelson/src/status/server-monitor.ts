import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createEtcdClient, type EtcdClientOptions } from "@keelson/etcd-client";
import type { Gateway } from "@keelson/gateway";
import { createInformer, type Informer, type KubeClient, type KubeObject, resources } from "@keelson/kube-client";
import { formatAddress } from "@keelson/load-balancer";
import { checkCertificates, type ServerPaths } from "@keelson/registration";
import {
  type Dependencies,
  Lifecycle,
  type Service,
  StatusSocket,
  sinceAgo,
  sleep,
  type Timer,
} from "@keelson/service";
import type { EmbeddedEtcd } from "../etcd/embedded-etcd.ts";
import { type EtcdState, EtcdWatch } from "./etcd-watch.ts";
import { PartChecks } from "./part-checks.ts";
import { PeerServers } from "./peer-servers.ts";
import { serverProblems } from "./server-problems.ts";
import type { EtcdView, ServerStatus } from "./server-status.ts";

export interface ServerMonitorConfig {
  dataDir: string;
  nodeName: string;
  advertise: { address: string; port: number };
}

/** The parts of a running server. */
export interface WatchedParts {
  datastore: EtcdClientOptions;
  kube: KubeClient;
  gateway: Gateway;
  paths: ServerPaths;
}

const datastoreTimeoutMs = 2_000;
const dayMs = 86_400_000;
const nodesIntervalMs = 2_000;

/**
 * Watches over a server from inside and answers `keelson status` on `<dataDir>/server/status.sock`: from the first moment
 * of the start, and, once {@link watch} was told of the parts, with their health and that of the servers and nodes around.
 */
export class ServerMonitor implements Service {
  readonly #config: ServerMonitorConfig;
  readonly #deps: Dependencies;
  readonly #lifecycle: Lifecycle;
  readonly #startedAtMs: number;
  readonly #steps: { step: string; detail: string; at: string }[] = [];
  /** Since when a node has no tunnel to us, by the monotonic clock. */
  readonly #tunnelless = new Map<string, number>();
  #etcd: EtcdWatch | undefined;
  #checks: PartChecks | undefined;
  #peers: PeerServers | undefined;
  #gateway: Gateway | undefined;

  constructor(config: ServerMonitorConfig, deps: Dependencies) {
    this.#config = config;
    this.#deps = deps;
    this.#lifecycle = new Lifecycle(deps.log);
    this.#startedAtMs = deps.clock.now();
  }

  async start(): Promise<void> {
    const path = join(this.#config.dataDir, "server", "status.sock");
    await this.#lifecycle.run("status socket", new StatusSocket(path, () => this.status(), this.#deps));
  }

  stop(): Promise<void> {
    return this.#lifecycle.stop();
  }

  /** A station of the start was reached. */
  reached(step: string, detail: string): void {
    this.#steps.push({ step, detail, at: new Date(this.#deps.clock.now()).toISOString() });
  }

  /** To be told of before etcd starts: it may wait for the others for long. */
  async watchEtcd(etcd: EmbeddedEtcd): Promise<void> {
    this.#etcd = await this.#lifecycle.run("etcd members", new EtcdWatch(etcd, this.#deps));
  }

  async watch({ datastore, kube, gateway, paths }: WatchedParts): Promise<void> {
    const etcd = createEtcdClient(datastore);
    this.#lifecycle.onStop("datastore client", () => etcd.close());
    const checks = {
      datastore: async () => {
        // The adapter in this process always accepts; what gives no answer is the database behind it.
        const answer = await Promise.race([
          etcd.range({ key: Buffer.from("/registry/health"), limit: 1 }).then(() => undefined),
          sleep(datastoreTimeoutMs).then(() => `it gives no answer within ${datastoreTimeoutMs / 1_000} s`),
        ]);
        return answer;
      },
      "Kubernetes API": async () => {
        await kube.raw("GET", "/livez?exclude=etcd");
        return undefined;
      },
      gateway: async () => failedChecks((await gateway.health.handle("/readyz?verbose"))?.body ?? ""),
    };
    this.#gateway = gateway;
    this.#checks = await this.#lifecycle.run("part checks", new PartChecks(checks, this.#deps.clock));
    const { address, port } = this.#config.advertise;
    const ca = (): string => readFileSync(paths.certificate("server-ca"), "utf8");
    const peers = new PeerServers(kube, formatAddress(address, port), ca, this.#deps);
    this.#peers = await this.#lifecycle.run("peer servers", peers);
    this.#followNodes(kube, gateway);
  }

  async status(): Promise<ServerStatus> {
    const { dataDir, nodeName, advertise } = this.#config;
    const nowMs = this.#deps.clock.now();
    const monotonicMs = this.#deps.clock.monotonic();
    const moment = (sinceMs: number): string => sinceAgo(monotonicMs - sinceMs, nowMs);
    const certificates = await checkCertificates(dataDir, nowMs);
    const etcd = this.#etcd?.state;
    const status: Omit<ServerStatus, "problems"> = {
      nodeName,
      startedAt: new Date(this.#startedAtMs).toISOString(),
      address: `https://${formatAddress(advertise.address, advertise.port)}`,
      steps: this.#steps,
      parts: (this.#checks?.states() ?? []).map(({ sinceMs, ...part }) => ({ ...part, since: moment(sinceMs) })),
      servers: (this.#peers?.list() ?? []).map(({ sinceMs, ...peer }) => ({ ...peer, since: moment(sinceMs) })),
      ...(etcd === undefined ? {} : { etcd: etcdView(etcd, moment) }),
      tunnels: (this.#gateway?.tunnel.sessions() ?? []).map(({ ageMs, proven: _, ...session }) => ({
        ...session,
        since: sinceAgo(ageMs, nowMs),
      })),
      nodesWithoutTunnel: [...this.#tunnelless].map(([name, sinceMs]) => {
        const reason = this.#gateway?.tunnel.lossOf(name);
        return { nodeName: name, since: moment(sinceMs), ...(reason === undefined ? {} : { reason }) };
      }),
      certificates: certificates
        .filter(({ file }) => file.startsWith("server/"))
        .map(({ file, isCa, notAfterMs, status }) => ({
          file,
          isCa,
          notAfter: new Date(notAfterMs).toISOString(),
          daysLeft: Math.floor((notAfterMs - nowMs) / dayMs),
          status,
        })),
    };
    return { ...status, problems: serverProblems(status, nowMs) };
  }

  /** Every node of the cluster should hold a tunnel to every server. */
  #followNodes(kube: KubeClient, gateway: Gateway): void {
    const nodes: Informer<KubeObject> = createInformer(kube, resources.nodes, this.#deps);
    nodes.start();
    this.#lifecycle.onStop("nodes", () => nodes.stop());
    const timer: Timer = this.#deps.clock.setInterval(() => {
      const connected = new Set(gateway.tunnel.sessions().map(({ nodeName }) => nodeName));
      const missing = new Set(nodes.list().flatMap(({ metadata: { name } }) => (connected.has(name) ? [] : [name])));
      for (const name of this.#tunnelless.keys()) if (!missing.has(name)) this.#tunnelless.delete(name);
      for (const name of missing) {
        if (!this.#tunnelless.has(name)) this.#tunnelless.set(name, this.#deps.clock.monotonic());
      }
    }, nodesIntervalMs);
    this.#lifecycle.onStop("nodes without tunnel", () => timer.cancel());
  }
}

function etcdView({ sinceMs, members, ...etcd }: EtcdState, moment: (sinceMs: number) => string): EtcdView {
  const views = members.map(({ sinceMs, ...member }) => ({ ...member, since: moment(sinceMs) }));
  return { ...etcd, since: moment(sinceMs), members: views };
}

/** The failed lines of a health listing, `[-]name failed: why`, as one sentence; undefined when there are none. */
function failedChecks(listing: string): string | undefined {
  const failed = listing.split("\n").flatMap((line) => {
    const match = /^\[-\](.+) failed: (.*)$/.exec(line);
    return match === null ? [] : [`${match[1]}: ${match[2]}`];
  });
  return failed.length === 0 ? undefined : failed.join("; ");
}

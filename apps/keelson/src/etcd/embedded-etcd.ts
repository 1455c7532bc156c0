import { chmod, mkdir } from "node:fs/promises";
import {
  type Clock,
  type Dependencies,
  KeelsonError,
  type Logger,
  type Service,
  SupervisedChild,
  withDefaults,
  writeFileAtomic,
} from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi, EtcdStatus } from "./cluster-api.ts";
import {
  defaultPorts,
  type EmbeddedEtcdConfig,
  type EmbeddedEtcdDependencies,
  localClientUrl,
  loopback,
} from "./config.ts";
import { connectEtcd } from "./connect.ts";
import { formatDbInfo } from "./db-info.ts";
import { becomeVoter, type JoinContext, joinCluster } from "./join.ts";
import { etcdLayout } from "./layout.ts";
import { checkHealth, LeaderDuties } from "./leader-duties.ts";
import { hasMemberData, isTombstoned, memberName, setDataAside } from "./member-files.ts";
import { type ClusterHealth, clusterHealth, describeMember } from "./member-health.ts";
import { removeWhenHealthy } from "./member-removal.ts";
import { type EtcdMember, nodeOfMember } from "./membership.ts";
import { PeerPort } from "./peer-port.ts";
import { etcdProcessConfig, etcdUrl } from "./process-config.ts";
import { waitUntilWell } from "./waiting.ts";

/** How etcd says that it was voted out; it then stops with code 0. */
const removedText = /removed from the cluster|server is likely decommissioned|the member has been permanently removed/i;

/** The etcd member of this server: its process, its membership, and the leader's duties while it leads. */
export interface EmbeddedEtcd extends Service {
  /** What the datastore adapter connects to. */
  readonly clientUrl: string;
  /** Calls on the cluster through this server's member. */
  readonly cluster: EtcdClusterApi;
  readonly memberName: string;
  memberList(): Promise<EtcdMember[]>;
  /** Body of `GET /db/info`. */
  dbInfo(): Promise<string>;
  status(): Promise<EmbeddedEtcdStatus>;
  /** A sentence when this member does not serve, for `/readyz`. */
  health(): Promise<string | undefined>;
  /**
   * Removes the member of a node that was deleted. Both must match: the name alone may belong to a new server of the
   * same node by now. Resolves to whether there was one.
   */
  removeMember(member: { name: string; address: string }): Promise<boolean>;
}

export interface EmbeddedEtcdStatus {
  memberName: string;
  state: SupervisedChild["state"] | "removed";
  /** Absent while the member does not answer; it does not before there was a quorum since its start. */
  etcd: EtcdStatus | undefined;
  isLeader: boolean;
  isVoter: boolean;
  cluster: ClusterHealth | undefined;
}

export function createEmbeddedEtcd(
  config: EmbeddedEtcdConfig,
  deps: Partial<Dependencies> & EmbeddedEtcdDependencies = {},
): EmbeddedEtcd {
  return new EtcdMemberService(config, deps);
}

class EtcdMemberService implements EmbeddedEtcd {
  readonly clientUrl: string;
  readonly cluster: EtcdClusterApi;
  memberName = "";
  readonly #config: EmbeddedEtcdConfig;
  readonly #layout: ReturnType<typeof etcdLayout>;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #connect: ConnectEtcd;
  readonly #onRemoved: () => void;
  readonly #child: SupervisedChild;
  readonly #peerPort: PeerPort;
  readonly #duties: LeaderDuties;
  #stopping = new AbortController();
  #removed = false;
  #tombstoned: Promise<void> = Promise.resolve();

  constructor(config: EmbeddedEtcdConfig, deps: Partial<Dependencies> & EmbeddedEtcdDependencies) {
    const { log, clock } = withDefaults(deps);
    this.#config = config;
    this.#layout = etcdLayout(config.dataDir);
    this.#log = log.child({ component: "etcd" });
    this.#clock = clock;
    this.#connect = deps.connect ?? connectEtcd(this.#layout.certificates);
    this.#onRemoved = deps.onRemoved ?? (() => {});
    this.clientUrl = localClientUrl(config);
    this.cluster = this.#connect([this.clientUrl]);
    const ownPeerUrl = etcdUrl(loopback, config.peerPort ?? defaultPorts.peer);
    this.#peerPort = new PeerPort(ownPeerUrl, this.#layout.certificates);
    this.#duties = new LeaderDuties(this.cluster, this.#connect, { log: this.#log, clock });
    this.#child = new SupervisedChild(
      {
        name: "etcd",
        command: config.etcdPath ?? "etcd",
        args: ["--config-file", this.#layout.config],
        // Debian's etcd asks for this consent on 64-bit ARM, where K3s has run it for years.
        env: process.arch === "x64" ? {} : { ETCD_UNSUPPORTED_ARCH: process.arch },
        pidFile: this.#layout.pidFile,
        quiet: true,
        // Without the others it serves no client and is still well: what is waited for then is not the process.
        ready: async () => {
          await Promise.any([this.cluster.status(), this.#peerPort.members()]);
        },
        onExit: (exit) => {
          if (exit.code !== 0 || !exit.lastLines.some((line) => removedText.test(line))) return true;
          this.#onMemberRemoved();
          return false;
        },
      },
      { log, clock },
    );
  }

  async start(): Promise<void> {
    this.#stopping = new AbortController();
    if (await isTombstoned(this.#layout)) {
      // The others went on without it: alone it would be a second cluster of the same name.
      if (this.#config.origin.kind !== "join") throw removedError();
      await this.#setDataAside();
    }
    try {
      await this.#startMember();
    } catch (error) {
      // Voted out while it was away. With somebody to join, nobody needs to start it a second time.
      if (!this.#removed || this.#config.origin.kind !== "join") throw error;
      await this.#child.stop();
      await this.#tombstoned;
      await this.#setDataAside();
      this.#removed = false;
      await this.#startMember();
    }
    this.#duties.start();
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new KeelsonError("etcd/stopped", "embedded etcd was stopped"));
    await this.#duties.stop();
    await this.#child.stop();
    this.cluster.close();
  }

  memberList(): Promise<EtcdMember[]> {
    return this.cluster.memberList();
  }

  async dbInfo(): Promise<string> {
    return formatDbInfo(await this.cluster.memberList());
  }

  async health(): Promise<string | undefined> {
    if (this.#removed) return "this server was removed from the etcd cluster";
    if (this.#child.state !== "ready") return `etcd is ${this.#child.state}`;
    const { leaderId, isLearner } = await this.cluster.status();
    if (leaderId === 0n) return "etcd has no leader";
    return isLearner ? "etcd is a learner, not a voting member yet" : undefined;
  }

  async status(): Promise<EmbeddedEtcdStatus> {
    const etcd = await this.cluster.status().catch(() => undefined);
    const cluster = await this.#clusterHealth().catch(() => undefined);
    return {
      memberName: this.memberName,
      state: this.#removed ? "removed" : this.#child.state,
      etcd,
      isLeader: etcd !== undefined && etcd.leaderId === etcd.memberId,
      isVoter: etcd !== undefined && !etcd.isLearner,
      cluster,
    };
  }

  async removeMember(wanted: { name: string; address: string }): Promise<boolean> {
    const host = new URL(etcdUrl(wanted.address, defaultPorts.peer)).hostname;
    const member = (await this.cluster.memberList()).find(
      ({ name, peerUrls }) => name === wanted.name && peerUrls.some((url) => new URL(url).hostname === host),
    );
    if (member === undefined) return false;
    await removeWhenHealthy(this.cluster, member.id, { clock: this.#clock, signal: this.#stopping.signal });
    this.#log.info(
      { member: member.name, node: nodeOfMember(member.name) },
      "removed the etcd member of a deleted node",
    );
    return true;
  }

  async #startMember(): Promise<void> {
    this.memberName = await memberName(this.#layout, this.#config.nodeName);
    const isMember = await hasMemberData(this.#layout);
    const joining = !isMember && this.#config.origin.kind === "join" ? this.#joinContext() : undefined;
    const peerUrl = etcdUrl(this.#config.address, this.#config.peerPort ?? defaultPorts.peer);
    await this.#writeConfig(
      isMember
        ? undefined
        : joining === undefined
          ? { initial: `${this.memberName}=${peerUrl}`, state: "new" }
          : { initial: await joinCluster(joining), state: "existing" },
    );
    await this.#child.start();
    if (joining !== undefined) {
      await this.#until(async () => void (await this.cluster.status()));
      await becomeVoter((await this.cluster.status()).memberId, joining);
    }
    await this.#until(() => this.health());
    if (isMember) await this.#tidy(peerUrl);
  }

  /** A removed member's data never comes back into the cluster by itself; the operator may still want it. */
  async #setDataAside(): Promise<void> {
    const kept = await setDataAside(this.#layout, "etcd-backup", this.#clock.now());
    this.#log.warn({ kept }, "this server was removed from the etcd cluster; its old data is set aside, it joins anew");
  }

  #clusterHealth(): Promise<ClusterHealth> {
    return checkHealth(this.cluster, this.#connect).catch(async () => clusterHealth(await this.#peerPort.survey()));
  }

  #joinContext(): JoinContext | undefined {
    const { origin, nodeName, address, peerPort, joinTimeoutMs } = this.#config;
    if (origin.kind !== "join") return undefined;
    return {
      self: { nodeName, memberName: this.memberName, peerUrl: etcdUrl(address, peerPort ?? defaultPorts.peer) },
      members: origin.members,
      connect: this.#connect,
      clock: this.#clock,
      log: this.#log,
      timeoutMs: joinTimeoutMs ?? 120_000,
      signal: this.#stopping.signal,
    };
  }

  async #writeConfig(cluster: { initial: string; state: "new" | "existing" } | undefined): Promise<void> {
    const config = this.#config;
    await mkdir(this.#layout.data, { recursive: true, mode: 0o700 });
    // etcd refuses a data directory that others may read.
    await chmod(this.#layout.data, 0o700);
    const text = etcdProcessConfig(this.#layout, {
      memberName: this.memberName,
      address: config.address,
      clientPort: config.clientPort ?? defaultPorts.client,
      peerPort: config.peerPort ?? defaultPorts.peer,
      metricsPort: config.metricsPort ?? defaultPorts.metrics,
      exposeMetrics: config.exposeMetrics ?? false,
      heartbeatIntervalMs: config.heartbeatIntervalMs ?? 150,
      electionTimeoutMs: config.electionTimeoutMs ?? 1_500,
      extraArgs: config.extraArgs ?? [],
      ...(cluster === undefined ? {} : { cluster }),
    });
    await writeFileAtomic(this.#layout.config, text, 0o600);
  }

  /** Nothing above works without the datastore, and nobody but the other servers can end the wait. */
  async #until(check: () => Promise<string | undefined>): Promise<void> {
    const { signal } = this.#stopping;
    await waitUntilWell(
      async () => (this.#removed ? undefined : check()),
      (problem) => this.#sayWhatIsMissing(problem),
      { clock: this.#clock, signal },
    );
    if (this.#removed) throw removedError();
  }

  async #sayWhatIsMissing(problem: string): Promise<void> {
    const health = await this.#clusterHealth().catch(() => undefined);
    const unreachable = health?.members.filter(({ answers }) => !answers).map(describeMember) ?? [];
    this.#log.warn(
      unreachable.length === 0 ? { problem } : { unreachable },
      "waiting for the etcd cluster: enough of the other servers must run",
    );
  }

  /** At the start of a member with data: publish a changed address, give back free space, clear alarms. */
  async #tidy(peerUrl: string): Promise<void> {
    const { memberId } = await this.cluster.status();
    const self = (await this.cluster.memberList()).find((member) => member.id === memberId);
    if (self !== undefined && !self.peerUrls.includes(peerUrl)) {
      this.#log.info({ from: self.peerUrls, to: peerUrl }, "this server has a new address, updating its etcd member");
      await this.cluster.memberUpdate(memberId, [peerUrl]);
    }
    try {
      await this.cluster.defragment();
      await this.cluster.disarmAlarms();
    } catch (error) {
      this.#log.warn({ err: error }, "cannot defragment etcd at start");
    }
  }

  #onMemberRemoved(): void {
    this.#removed = true;
    this.#log.error(
      "this server was removed from the etcd cluster; started again with --server, it joins as a new member",
    );
    this.#tombstoned = writeFileAtomic(this.#layout.tombstone, "", 0o600)
      .catch((error: unknown) => this.#log.error({ err: error }, "cannot write the tombstone"))
      .finally(() => this.#onRemoved());
  }
}

function removedError(): KeelsonError {
  return new KeelsonError("etcd/removed", "this server was removed from the etcd cluster", {
    hint: "start it with --server: it then sets its old data aside and joins as a new member (or alone, with --cluster-reset)",
  });
}

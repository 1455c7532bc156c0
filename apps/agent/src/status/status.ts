import type { LoadBalancer, ServerState } from "@keelson/load-balancer";
import { readCertificate } from "@keelson/pki/csr";
import { type Clock, type Problem, sinceAgo } from "@keelson/service";
import type { Joined } from "../join/join.ts";
import type { Joiner, TokenFit } from "../join/joiner.ts";
import type { LeafName } from "../layout.ts";
import type { Membership } from "../membership.ts";
import type { TunnelSet } from "../tunnel/tunnel-set.ts";
import type { LostServers } from "./lost-servers.ts";
import { problemsOf } from "./problems.ts";

/** Everything `keelson status` shows of an agent, as data. Moments are ISO 8601. */
export interface AgentStatus {
  nodeName: string;
  startedAt: string;
  registrationServers: readonly string[];
  token: TokenFit;
  join: {
    state: "joining" | "joined";
    since: string;
    /** Failed so far. */
    attempts: number;
    error: { message: string; hint: string | undefined } | undefined;
  };
  loadBalancer: { address: string; connections: number; servers: readonly ServerView[] };
  tunnels: readonly TunnelView[];
  node: NodeView;
  certificates: readonly CertificateView[];
  /** Our clock minus the servers', in milliseconds; undefined before the first answer. */
  clockOffsetMs: number | undefined;
  /** Servers that went down and have left the cluster's list since. */
  lostServers: readonly { address: string; since: string; reason: string }[];
  /** What is wrong; empty when all is well. */
  problems: readonly Problem[];
}

/** A server in the load balancer. */
export interface ServerView {
  address: string;
  state: ServerState;
  /** When it entered the state. */
  since: string;
  /** Why it is in it. */
  reason: string;
  connections: number;
  registration: boolean;
  listed: boolean;
  /** Since when its checks and dials fail, and why; undefined while they do not. */
  down: { since: string; reason: string } | undefined;
}

/** A tunnel, open or wanted. */
export interface TunnelView {
  address: string;
  state: "connecting" | "open" | "waiting";
  /** When it opened, or when it was last open. */
  since: string;
  peer: "keelson" | "k3s" | undefined;
  streams: number;
  roundTripMs: number | undefined;
  bytesIn: number;
  bytesOut: number;
  leaving: boolean;
  /** The last failure of any kind, also of a tunnel that has come back since. */
  lastError: { reason: string; at: string } | undefined;
}

export interface NodeView {
  /** `kubelet`: a kubelet keeps the Node; else we do. */
  keeper: "agent" | "kubelet";
  state: "registering" | "ready" | "failing" | "deleted";
  since: string;
  reason: string | undefined;
  /** How often the kubelet was started again. */
  restarts: number | undefined;
}

export interface CertificateView {
  name: LeafName;
  notAfter: string;
  daysLeft: number;
}

/** What a status is made of; parts that are not there yet are undefined. */
export interface StatusSources {
  nodeName: string;
  startedAtMs: number;
  registrationServers: readonly string[];
  loadBalancerUrl: string;
  balancer: LoadBalancer;
  joiner: Joiner | undefined;
  joined: Joined | undefined;
  tunnels: TunnelSet | undefined;
  membership: Membership | undefined;
  lost: LostServers;
}

const dayMs = 86_400_000;

export function collectStatus(sources: StatusSources, clock: Clock): AgentStatus {
  const { balancer, joiner, joined, tunnels, membership } = sources;
  const nowMs = clock.now();
  const monotonicMs = clock.monotonic();
  const moment = (sinceMs: number): string => sinceAgo(monotonicMs - sinceMs, nowMs);
  const started = new Date(sources.startedAtMs).toISOString();
  const progress = joiner?.progress;
  const status: Omit<AgentStatus, "problems"> = {
    nodeName: sources.nodeName,
    startedAt: started,
    registrationServers: sources.registrationServers,
    token: joiner?.tokenFit ?? "unknown",
    join: {
      state: progress?.state ?? "joining",
      since: progress === undefined ? started : moment(progress.sinceMs),
      attempts: progress?.state === "joining" ? progress.attempts : 0,
      error: progress?.state === "joining" ? progress.error : undefined,
    },
    loadBalancer: {
      address: sources.loadBalancerUrl,
      connections: balancer.connections,
      servers: balancer.servers().map(({ sinceMs, down, ...server }) => ({
        ...server,
        since: moment(sinceMs),
        down: down === undefined ? undefined : { since: moment(down.sinceMs), reason: down.reason },
      })),
    },
    tunnels: (tunnels?.status() ?? []).map(({ sinceMs, lastError, ...tunnel }) => ({
      ...tunnel,
      since: moment(sinceMs),
      lastError: lastError === undefined ? undefined : { reason: lastError.reason, at: moment(lastError.atMs) },
    })),
    node: nodeView(membership, started, moment),
    certificates: joined === undefined ? [] : certificates(joined, nowMs),
    clockOffsetMs: joiner?.clockSkew?.skewMs,
    lostServers: sources.lost
      .list()
      .map(({ address, sinceMs, reason }) => ({ address, since: moment(sinceMs), reason })),
  };
  return { ...status, problems: problemsOf(status, nowMs) };
}

function nodeView(membership: Membership | undefined, started: string, moment: (sinceMs: number) => string): NodeView {
  if (membership === undefined) {
    return { keeper: "agent", state: "registering", since: started, reason: undefined, restarts: undefined };
  }
  const { sinceMs, ...status } = membership.status;
  return { ...status, since: moment(sinceMs) };
}

function certificates({ leaves }: Joined, nowMs: number): CertificateView[] {
  return Object.entries(leaves).map(([name, { certPem }]) => {
    const { notAfterMs } = readCertificate(certPem);
    return {
      name: name as LeafName,
      notAfter: new Date(notAfterMs).toISOString(),
      daysLeft: Math.floor((notAfterMs - nowMs) / dayMs),
    };
  });
}

import type { Problem } from "@keelson/service";
import type { MemberView } from "../etcd/member-health.ts";

/** Everything `keelson status` shows of a server, as data. Moments are ISO 8601. */
export interface ServerStatus {
  nodeName: string;
  startedAt: string;
  /** `https://host:port` that agents are told. */
  address: string;
  /** The stations of its start, as they were reached; `ready` is the last. */
  steps: readonly { step: string; detail: string; at: string }[];
  parts: readonly PartView[];
  servers: readonly PeerView[];
  /** The members of embedded etcd; left out on other datastores, and before this server's own runs. */
  etcd?: EtcdView;
  tunnels: readonly TunnelSessionView[];
  /** `reason`: why the last tunnel ended; left out when this server never had one of that node. */
  nodesWithoutTunnel: readonly { nodeName: string; since: string; reason?: string }[];
  certificates: readonly ServerCertificateView[];
  /** What is wrong; empty when all is well. */
  problems: readonly Problem[];
}

export interface PartView {
  name: string;
  working: boolean;
  since: string;
  reason: string | undefined;
  roundTripMs: number | undefined;
}

/** A server of the cluster, ourselves included. */
export interface PeerView {
  address: string;
  own: boolean;
  listed: boolean;
  answers: boolean;
  since: string;
  reason: string;
}

/** Embedded etcd as this server sees it. */
export interface EtcdView {
  /** This server's member, and how its process is: `ready`, or `removed` when the cluster goes on without it. */
  memberName: string;
  state: string;
  /** Whether the cluster can be read and written, and since when it can or cannot. */
  hasQuorum: boolean;
  since: string;
  /** `since`: since when it answers or does not. */
  members: readonly (MemberView & { since: string })[];
}

/** The tunnel of an agent to this server. */
export interface TunnelSessionView {
  nodeName: string;
  remote: string;
  peer: "keelson" | "k3s";
  since: string;
  streams: number;
  roundTripMs: number | undefined;
  silentMs: number;
  leaving: boolean;
}

export interface ServerCertificateView {
  file: string;
  isCa: boolean;
  notAfter: string;
  daysLeft: number;
  status: "ok" | "expiring" | "expired" | "unreadable";
}

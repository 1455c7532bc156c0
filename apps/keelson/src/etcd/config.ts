import type { ConnectEtcd } from "./cluster-api.ts";
import type { EtcdMember } from "./membership.ts";

/** How a server without etcd data comes by a cluster. One with data continues as the member it is. */
export type EtcdOrigin =
  /** `--cluster-init`: it is the first member of a new cluster. */
  | { kind: "init" }
  /** `--server`: it joins; `members` asks the other server's `/db/info` anew at each call. */
  | { kind: "join"; members: () => Promise<readonly EtcdMember[]> };

export interface EmbeddedEtcdConfig {
  /** The server's data directory; certificates of the etcd CAs must stand in `server/tls/etcd` before the start. */
  dataDir: string;
  nodeName: string;
  /** Address (IP or DNS name) that the other servers reach this one at. */
  address: string;
  origin: EtcdOrigin;
  clientPort?: number;
  peerPort?: number;
  metricsPort?: number;
  /** Serve etcd's metrics on `address` too, not on loopback alone. */
  exposeMetrics?: boolean;
  /** Program, found in PATH by default. */
  etcdPath?: string;
  /** Milliseconds between heartbeats of the leader (150). All servers should agree. */
  heartbeatIntervalMs?: number;
  /**
   * Milliseconds without a heartbeat after which a new leader is elected (1500). K3s waits 5000 for the sake of slow
   * disks; a lost leader is then noticed that much later. All servers should agree.
   */
  electionTimeoutMs?: number;
  /** `name=value` for etcd, in the user's words. */
  extraArgs?: readonly string[];
  /** How long a join is tried, in milliseconds (120000); other servers may be joining at the same time. */
  joinTimeoutMs?: number;
}

export interface EmbeddedEtcdDependencies {
  /** Opens connections to etcd servers; tests may pass their own. */
  connect?: ConnectEtcd;
  /** Called once when this server was removed from the cluster; it can serve nobody until it is started again. */
  onRemoved?: () => void;
}

/** Every member listens here too, whatever its address is: Linux has IPv4's loopback on hosts with IPv6 alone as well. */
export const loopback = "127.0.0.1";

/** The client URL that this server's own parts and commands use. */
export function localClientUrl(config: Pick<EmbeddedEtcdConfig, "clientPort">): string {
  return `https://${loopback}:${config.clientPort ?? defaultPorts.client}`;
}

export const defaultPorts = { client: 2379, peer: 2380, metrics: 2381 } as const;

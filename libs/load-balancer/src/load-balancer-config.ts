import type { Service } from "@keelson/service";
import type { ResolveHost } from "./address.ts";
import type { HealthProbe } from "./probe.ts";
import type { ServerStatus } from "./server-list.ts";

export interface LoadBalancerConfig {
  /** Instance name; K3s's `k3s-agent-load-balancer` names the metrics and the state file. */
  name: string;
  /** Registration URLs, `https://host:port`, in order of preference. */
  servers: readonly string[];
  /** Addresses to listen on (127.0.0.1 and ::1) and the port; 0 picks one. */
  listen: { hosts?: readonly string[]; port: number };
  /** Remembers the servers across restarts; left out, nothing is remembered. */
  stateFile?: string;
  /** Application-level check of each server, once a second. */
  probe?: HealthProbe;
  /** Milliseconds between two checks of a server (1000). */
  checkIntervalMs?: number;
  /** How long a check may take before the server counts as down, in milliseconds (1500). */
  checkTimeoutMs?: number;
  /** How long a dial may take, in milliseconds (2000). */
  dialTimeoutMs?: number;
  /** How long a silent dial has the field for itself, in milliseconds (250). */
  hedgeAfterMs?: number;
  /** Milliseconds between two look-ups of registration names (30000). */
  resolveIntervalMs?: number;
  resolve?: ResolveHost;
}

/**
 * The agent's client load balancer: one local port in front of all servers. It fails over rather than spreads load, so one
 * server at a time serves all connections.
 */
export interface LoadBalancer extends Service {
  /** After start: the port it listens on. */
  readonly port: number;
  /** The servers that the cluster published. */
  setServers(addresses: readonly string[]): void;
  /** Something happened on another connection to that server: look at it now. */
  checkNow(address: string): void;
  /** A server says that it is about to stop (or no longer): new connections go elsewhere. */
  setLeaving(address: string, leaving: boolean): void;
  servers(): readonly ServerStatus[];
  readonly connections: number;
}

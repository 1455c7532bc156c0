import type { ServerStatus } from "@keelson/load-balancer";
import { readCertificate } from "@keelson/pki/csr";
import type { LeafName } from "../layout.ts";
import type { NodeState } from "../node/node-keeper.ts";
import type { TunnelStatus } from "../tunnel/tunnel-client.ts";

/** How far the agent is on its way into the cluster. */
export type JoinState =
  | { state: "joining"; attempt: number; error: { message: string; hint: string | undefined } | undefined }
  | { state: "joined" };

export interface CertificateStatus {
  name: LeafName;
  notAfter: string;
  expired: boolean;
}

/** Everything `keelson status` shows of an agent, as data. */
export interface AgentStatus {
  nodeName: string;
  registrationServers: readonly string[];
  /** `ok` when the token was accepted, `rejected` or `unknown` otherwise. */
  token: "ok" | "rejected" | "unknown";
  join: JoinState;
  loadBalancer: { address: string; connections: number; servers: readonly (ServerStatus & { ageMs: number })[] };
  tunnels: readonly TunnelStatus[];
  node: NodeState | { state: "kubelet"; running: boolean; restarts: number };
  certificates: readonly CertificateStatus[];
  /** Our clock minus the server's, in milliseconds; undefined before the first answer. */
  clockOffsetMs: number | undefined;
  /** What is wrong, in sentences; empty when all is well. */
  problems: readonly string[];
}

/** The certificates an agent holds and how long they last. */
export function certificateStatus(
  leaves: Readonly<Record<LeafName, { certPem: string }>>,
  nowMs: number,
): CertificateStatus[] {
  return Object.entries(leaves).map(([name, { certPem }]) => {
    const { notAfterMs } = readCertificate(certPem);
    return { name: name as LeafName, notAfter: new Date(notAfterMs).toISOString(), expired: notAfterMs <= nowMs };
  });
}

/** Says what is wrong and since when, for people who do not know the parts. */
export function problemsOf(status: Omit<AgentStatus, "problems">): string[] {
  const problems: string[] = [];
  const { join, loadBalancer, tunnels, node, certificates, clockOffsetMs } = status;
  if (join.state === "joining" && join.error !== undefined) {
    const hint = join.error.hint === undefined ? "" : ` (${join.error.hint})`;
    problems.push(`not joined after ${join.attempt} attempt(s): ${join.error.message}${hint}`);
  }
  for (const { address, state, reason, ageMs } of loadBalancer.servers) {
    if (state === "failed") problems.push(`server ${address} is down for ${age(ageMs)}: ${reason}`);
  }
  const usable = loadBalancer.servers.filter(({ state }) => state !== "failed" && state !== "invalid");
  if (usable.length === 0) problems.push("no server can be reached: API calls through this node fail");
  for (const { address, state, sinceMs, lastError, leaving } of tunnels) {
    if (leaving) problems.push(`server ${address} is shutting down`);
    else if (state !== "open" && lastError !== undefined) {
      problems.push(`no tunnel to ${address} for ${age(sinceMs)}: ${lastError}; logs and exec through it fail`);
    }
  }
  if (node.state === "failing") problems.push(`the node's heartbeat fails: ${node.reason}`);
  if (node.state === "deleted") problems.push("the Node object was deleted: start the agent again to register it");
  if (node.state === "kubelet" && !node.running) problems.push("the kubelet does not run");
  for (const { name, expired, notAfter } of certificates) {
    if (expired) problems.push(`certificate ${name} expired at ${notAfter}`);
  }
  if (clockOffsetMs !== undefined && Math.abs(clockOffsetMs) > 5_000) {
    const direction = clockOffsetMs > 0 ? "ahead of" : "behind";
    problems.push(`this host's clock is ${age(Math.abs(clockOffsetMs))} ${direction} the server's`);
  }
  return problems;
}

function age(ms: number): string {
  if (ms < 120_000) return `${Math.round(ms / 1_000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  return `${Math.round(ms / 3_600_000)} h`;
}

import type { AgentStatus } from "@keelson/agent";
import { formatTable } from "../cli/table.ts";
import type { Asked } from "./ask-status.ts";
import { age, certificateSummary, milliseconds, renderFacts } from "./render-problems.ts";

/** An agent's status for people. */
export function renderAgent(asked: Asked<AgentStatus>, nowMs: number): string {
  if (asked.state !== "running") return `Agent: ${asked.state}, last seen alive ${age(asked.lastSeen, nowMs)} ago\n`;
  const { nodeName, startedAt, token, join, loadBalancer, tunnels, certificates } = asked;
  const facts = renderFacts(`Agent of node ${nodeName}, up ${age(startedAt, nowMs)}`, [
    ["cluster", `${join.state} for ${age(join.since, nowMs)}; token ${tokenWords[token]}`],
    ["node", nodeWords(asked, nowMs)],
    ["API on this host", `${loadBalancer.address}, ${loadBalancer.connections} connections`],
    ["certificates", certificateSummary(certificates)],
    ["clock", clockWords(asked.clockOffsetMs)],
  ]);
  const servers = formatTable(
    ["SERVER", "STATE", "FOR", "CONNECTIONS", "REASON"],
    loadBalancer.servers.map(({ address, state, since, connections, reason }) => [
      address,
      state,
      age(since, nowMs),
      String(connections),
      reason,
    ]),
  );
  const rows = tunnels.map(({ address, state, since, peer = "", streams, roundTripMs, leaving, lastError }) => [
    address,
    leaving ? "leaving" : state === "open" ? "open" : "closed",
    age(since, nowMs),
    peer,
    String(streams),
    milliseconds(roundTripMs),
    lastError === undefined ? "" : `${age(lastError.at, nowMs)} ago: ${lastError.reason}`,
  ]);
  const headings = ["TUNNEL TO", "STATE", "FOR", "PEER", "STREAMS", "ROUND TRIP", "LAST ERROR"];
  const sections = [facts, servers, ...(rows.length === 0 ? [] : [formatTable(headings, rows)])];
  return `${sections.join("\n\n")}\n`;
}

const tokenWords: Readonly<Record<AgentStatus["token"], string>> = {
  unknown: "not checked yet",
  accepted: "accepted",
  rejected: "rejected",
  "other-cluster": "of another cluster",
};

function nodeWords({ node: { keeper, state, since, restarts } }: AgentStatus, nowMs: number): string {
  const kept = keeper === "agent" ? "kept by this agent" : `kept by a kubelet, started again ${restarts ?? 0} times`;
  return `${state} for ${age(since, nowMs)}, ${kept}`;
}

function clockWords(offsetMs: number | undefined): string {
  if (offsetMs === undefined) return "not compared with a server's yet";
  if (offsetMs === 0) return "agrees with the servers' within a second";
  const seconds = (Math.abs(offsetMs) / 1_000).toFixed(1);
  return `${seconds} s ${offsetMs > 0 ? "ahead of" : "behind"} the servers'`;
}

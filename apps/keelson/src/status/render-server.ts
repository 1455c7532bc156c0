import { formatTable } from "../cli/table.ts";
import { memberState } from "../etcd/member-health.ts";
import type { Asked } from "./ask-status.ts";
import { age, certificateSummary, milliseconds, renderFacts } from "./render-problems.ts";
import type { EtcdView, PeerView, ServerStatus } from "./server-status.ts";

/** A server's status for people. */
export function renderServer(asked: Asked<ServerStatus>, nowMs: number): string {
  if (asked.state !== "running") return `Server: ${asked.state}, last seen alive ${age(asked.lastSeen, nowMs)} ago\n`;
  const { nodeName, startedAt, address, steps, parts, servers, tunnels } = asked;
  const certificates = asked.certificates.map(({ file, daysLeft }) => ({ name: file, daysLeft }));
  const title = `Server ${nodeName} at ${address}, up ${age(startedAt, nowMs)}`;
  const sections = [
    renderFacts(title, [
      ["datastore", steps.find(({ step }) => step === "datastore")?.detail ?? "not up yet"],
      ...(asked.etcd === undefined ? [] : [["etcd", etcdWords(asked.etcd, nowMs)] as const]),
      ["certificates", certificateSummary(certificates)],
    ]),
    formatTable(
      ["PART", "STATE", "FOR", "ROUND TRIP", "REASON"],
      parts.map(({ name, working, since, roundTripMs, reason }) => [
        name,
        working ? "works" : "fails",
        age(since, nowMs),
        working ? milliseconds(roundTripMs) : "",
        working ? "" : (reason ?? ""),
      ]),
    ),
    formatTable(
      ["SERVER", "STATE", "FOR", "LISTED", "REASON"],
      servers.map(({ address, own, answers, since, listed, reason }: PeerView) => [
        address,
        answers ? "answers" : "down",
        age(since, nowMs),
        listed ? "yes" : "no",
        own ? "this server" : reason,
      ]),
    ),
    ...(asked.etcd === undefined ? [] : [etcdTable(asked.etcd, nowMs)]),
    formatTable(
      ["TUNNEL OF", "STATE", "FOR", "PEER", "STREAMS", "ROUND TRIP", "FROM"],
      [
        ...tunnels.map(({ nodeName, since, peer, streams, roundTripMs, leaving, remote }) => [
          nodeName,
          leaving ? "leaving" : "open",
          age(since, nowMs),
          peer,
          String(streams),
          milliseconds(roundTripMs),
          remote,
        ]),
        ...asked.nodesWithoutTunnel.map(({ nodeName, since }) => [nodeName, "none", age(since, nowMs)]),
      ],
    ),
  ];
  return `${sections.join("\n\n")}\n`;
}

function etcdWords({ state, hasQuorum, since, members }: EtcdView, nowMs: number): string {
  if (state === "removed") return "this server was removed from the cluster";
  const voters = members.filter(({ isLearner }) => !isLearner);
  const there = voters.filter(({ answers }) => answers).length;
  return `${hasQuorum ? "quorum" : "NO QUORUM"} for ${age(since, nowMs)}: ${there} of ${voters.length} voters answer`;
}

function etcdTable({ members }: EtcdView, nowMs: number): string {
  return formatTable(
    ["ETCD MEMBER", "STATE", "FOR", "PEER"],
    members.map((member) => [member.name, memberState(member), age(member.since, nowMs), member.peerUrls.join(",")]),
  );
}

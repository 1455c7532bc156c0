import { downAdvice } from "@keelson/load-balancer";
import type { Problem } from "@keelson/service";
import type { AgentStatus, CertificateView, NodeView, ServerView } from "./status.ts";

type Facts = Omit<AgentStatus, "problems">;

/** A clock that is off by more than this makes certificates look not yet or no longer valid. */
const maxClockOffsetMs = 5_000;

/** What normally takes a second or two is a problem after so long, also when nobody knows why. */
const patienceMs = 30_000;

/** Says what is wrong, since when, and what to do, for people who do not know the parts. The gravest comes first. */
export function problemsOf(status: Facts, nowMs: number): Problem[] {
  return [
    ...joinProblems(status, nowMs),
    ...serverProblems(status),
    ...lostServerProblems(status),
    ...tunnelProblems(status),
    ...nodeProblems(status.node, status.nodeName, nowMs),
    ...tokenProblems(status),
    ...status.certificates.flatMap(certificateProblems),
    ...clockProblems(status.clockOffsetMs),
  ];
}

function joinProblems({ join }: Facts, nowMs: number): Problem[] {
  if (join.state === "joined") return [];
  if (join.error === undefined) {
    if (!isOverdue(join.since, nowMs)) return [];
    const what = "this host is not in the cluster yet, and no attempt to join has ended";
    return [{ what, since: join.since, advice: "look at the agent's log, and restart it if that says nothing" }];
  }
  return [
    {
      what: `this host is not in the cluster yet: ${join.error.message}`,
      since: join.since,
      advice: `${join.error.hint ?? "look at the log of a server"}; the agent tries again by itself`,
    },
  ];
}

function isUsable({ state, down }: ServerView): boolean {
  return down === undefined && state !== "failed" && state !== "invalid";
}

function serverProblems({ join, loadBalancer: { servers } }: Facts): Problem[] {
  const problems: Problem[] = [];
  const fallback = servers.find(isUsable);
  if (fallback === undefined && servers.length > 0 && join.state === "joined") {
    const since = servers
      .map(({ down, since }) => down?.since ?? since)
      .sort()
      .at(-1)!;
    problems.push({
      what: "no server can be reached from this host: kubectl and everything else that needs the API fails here",
      since,
      advice:
        "containers that run go on; start a server, or mend this host's network, and the agent reconnects by itself",
    });
  }
  const meanwhile = fallback === undefined ? "" : `; this host uses ${fallback.address} meanwhile`;
  for (const { address, state, reason, since, down, listed } of servers) {
    if (!listed && join.state === "joining") continue; // said by the failed join already
    if (down !== undefined) {
      const role = listed ? "server" : "registration address";
      const what = `${role} ${address} is down: ${down.reason}`;
      problems.push({ what, since: down.since, advice: `${downAdvice(down.reason)}${meanwhile}` });
    } else if (state === "failed") {
      problems.push({
        what: `server ${address} is shutting down: ${reason}`,
        since,
        advice: leavingAdvice + meanwhile,
      });
    }
  }
  return problems;
}

const leavingAdvice = "nothing to do if somebody stops or restarts it on purpose";

function lostServerProblems({ lostServers, loadBalancer: { servers } }: Facts): Problem[] {
  return lostServers
    .filter(({ address }) => !servers.some((server) => server.address === address && server.down !== undefined))
    .map(({ address, since, reason }) => ({
      what: `server ${address} is gone and the cluster has taken it off its list: ${reason}`,
      since,
      advice: `${downAdvice(reason)}; nothing to do if it was taken away on purpose (this is forgotten after an hour)`,
    }));
}

function tunnelProblems({ tunnels, loadBalancer: { servers } }: Facts): Problem[] {
  const problems: Problem[] = [];
  for (const { address, state, since, lastError } of tunnels) {
    if (state === "open" || lastError === undefined) continue;
    const server = servers.find((candidate) => candidate.address === address);
    if (server !== undefined && !isUsable(server)) continue; // the tunnel fell with its server, which is said above
    problems.push({
      what: `there is no tunnel to server ${address}: ${lastError.reason}`,
      since,
      advice:
        "kubectl logs and exec for pods of this node fail where that server handles them; " +
        "the agent reconnects by itself, so look at that server's log if this lasts more than a minute",
    });
  }
  return problems;
}

function nodeProblems(node: NodeView, nodeName: string, nowMs: number): Problem[] {
  const { keeper, state, since, reason, restarts } = node;
  if (state === "ready") return [];
  if (state === "registering" && reason === undefined && !isOverdue(since, nowMs)) return [];
  if (state === "deleted") {
    const what = `somebody deleted the Node object "${nodeName}", so this host is no longer part of the cluster`;
    return [{ what, since, advice: "restart the agent to register it again, or stop the agent for good" }];
  }
  if (keeper === "kubelet") {
    const again = `(started again ${restarts ?? 0} times)`;
    const what = `the kubelet does not work ${again}: ${reason ?? "it is not healthy yet"}`;
    return [{ what, since, advice: "no pod starts on this node; look at the agent's log for what the kubelet says" }];
  }
  const what =
    state === "registering"
      ? `this host's Node object cannot be registered: ${reason ?? "no server has taken it yet"}`
      : `this host's heartbeat does not arrive, so the cluster will call it NotReady: ${reason}`;
  return [{ what, since, advice: "it is tried again by itself; see to the servers above first" }];
}

function isOverdue(since: string, nowMs: number): boolean {
  return nowMs - Date.parse(since) > patienceMs;
}

function tokenProblems({ token, join }: Facts): Problem[] {
  if (join.state === "joining" || token === "accepted" || token === "unknown") return [];
  return [
    {
      what: "the servers no longer accept this agent's token: it works on, but cannot renew its certificates or restart",
      advice: "put the current token (server/token on a server) into the agent's settings and restart it",
    },
  ];
}

function certificateProblems({ name, notAfter, daysLeft }: CertificateView): Problem[] {
  if (daysLeft >= 14) return [];
  const advice = "the agent renews it by itself as soon as a server answers; look at its log if this stays";
  if (daysLeft < 0) return [{ what: `certificate ${name} has expired`, since: notAfter, advice }];
  return [{ what: `certificate ${name} ends in ${daysLeft} days and was not renewed yet`, advice }];
}

function clockProblems(offsetMs: number | undefined): Problem[] {
  if (offsetMs === undefined || Math.abs(offsetMs) <= maxClockOffsetMs) return [];
  const seconds = Math.round(Math.abs(offsetMs) / 1_000);
  return [
    {
      what: `this host's clock is ${seconds} s ${offsetMs > 0 ? "ahead of" : "behind"} the servers'`,
      advice:
        "certificates may count as expired or not yet valid: set the clock, and check its time service (timedatectl)",
    },
  ];
}

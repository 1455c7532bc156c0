import { downAdvice } from "@keelson/load-balancer";
import type { Problem } from "@keelson/service";
import { etcdProblems, removalProblem } from "./etcd-problems.ts";
import type { PartView, PeerView, ServerCertificateView, ServerStatus } from "./server-status.ts";

type Facts = Omit<ServerStatus, "problems">;

/** A start that takes longer than this waits for something. */
const slowStartMs = 10_000;
/** Agents come back to a server that has just started within this time. */
const reconnectMs = 15_000;

/** Says what is wrong with a server and the cluster around it, since when, and what to do. The gravest comes first. */
export function serverProblems(status: Facts, nowMs: number): Problem[] {
  const upMs = nowMs - Date.parse(status.startedAt);
  const { etcd } = status;
  if (etcd?.state === "removed") return [removalProblem(etcd), ...status.certificates.flatMap(certificateProblems)];
  const isStarting = !status.steps.some(({ step }) => step === "ready") && upMs < slowStartMs;
  const ofEtcd = etcd === undefined || isStarting ? [] : etcdProblems(etcd);
  const failing = status.parts.filter(({ working }) => !working);
  return [
    ...startProblems(status, upMs),
    ...isolationProblems(status),
    ...ofEtcd,
    // The same once more, in words that are meant for databases.
    ...failing.filter(({ name }) => name !== "datastore" || ofEtcd.length === 0).map(partProblem),
    ...peerProblems(status.servers),
    ...(upMs < reconnectMs ? [] : tunnelProblems(status)),
    ...status.certificates.flatMap(certificateProblems),
  ];
}

function startProblems({ steps, startedAt }: Facts, upMs: number): Problem[] {
  const last = steps.at(-1);
  if (steps.some(({ step }) => step === "ready") || upMs < slowStartMs) return [];
  const reached = last === undefined ? "nothing is up yet" : `the last that came up is: ${last.step}`;
  return [
    {
      what: `this server is still starting: ${reached}`,
      since: last?.at ?? startedAt,
      advice: "it waits for what it needs (most often its datastore); its log says for what",
    },
  ];
}

/** One cause for much of what follows it. */
function isolationProblems({ parts, servers }: Facts): Problem[] {
  const datastore = parts.find(({ name }) => name === "datastore");
  const others = servers.filter(({ own }) => !own);
  if (datastore === undefined || datastore.working || others.length === 0) return [];
  if (others.some(({ answers }) => answers)) return [];
  return [
    {
      what: "this host is cut off: neither the datastore nor any other server answers it",
      since: datastore.since,
      advice:
        "check this host's network first; agents use the other servers meanwhile, if those still reach the datastore",
    },
  ];
}

const partAdvice: Readonly<Record<string, string>> = {
  datastore:
    "nothing can be read or written through this server until it is back: check that the database runs and that this " +
    "host reaches it; nothing that was confirmed is lost, and the server goes on by itself",
  "Kubernetes API":
    "kubectl fails on this server, others are not concerned: look at its log, and restart it if this stays",
  gateway: "agents and kubectl are refused by this server, others are not concerned: look at its log",
};

function partProblem({ name, since, reason }: PartView): Problem {
  return { what: `the ${name} does not work: ${reason}`, since, advice: partAdvice[name] ?? "look at the log" };
}

function peerProblems(servers: readonly PeerView[]): Problem[] {
  const problems: Problem[] = [];
  for (const { address, own, listed, answers, since, reason } of servers) {
    if (own && !listed) {
      problems.push({
        what: `this server (${address}) is not on the cluster's list of servers: its lease was not renewed in time`,
        since,
        advice:
          "agents use the other servers meanwhile; it comes back on the list by itself when it reaches the datastore",
      });
    }
    if (answers) continue;
    const list = listed ? "still on the cluster's list of servers" : "already off the cluster's list of servers";
    const advice = `${downAdvice(reason)}; the other servers carry on, and it is ${list}`;
    problems.push({ what: `server ${address} is down: ${reason}`, since, advice });
  }
  return problems;
}

function tunnelProblems({ nodesWithoutTunnel }: Facts): Problem[] {
  return nodesWithoutTunnel.map(({ nodeName, since, reason }) => ({
    what:
      `node ${nodeName} has no tunnel to this server: kubectl logs and exec for its pods fail here` +
      (reason === undefined ? "" : ` (its last one ended: ${reason})`),
    since,
    advice:
      `run keelson status on that host: its agent may not run, or may not reach this server; if the host is gone for ` +
      `good, kubectl delete node ${nodeName}`,
  }));
}

function certificateProblems({ file, isCa, notAfter, daysLeft, status }: ServerCertificateView): Problem[] {
  const advice = isCa
    ? "replace the certificate authorities: keelson certificate rotate-ca"
    : "renew it: keelson certificate rotate (a running server does so by itself)";
  if (status === "unreadable") return [{ what: `certificate ${file} cannot be read`, advice }];
  if (status === "expired") return [{ what: `certificate ${file} has expired`, since: notAfter, advice }];
  const due = isCa ? status === "expiring" : daysLeft < 14;
  return due ? [{ what: `certificate ${file} ends in ${daysLeft} days`, advice }] : [];
}

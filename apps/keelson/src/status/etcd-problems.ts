import type { Problem } from "@keelson/service";
import { describeMember } from "../etcd/member-health.ts";
import { nodeOfMember } from "../etcd/membership.ts";
import type { EtcdView } from "./server-status.ts";

/** That this server is no member of its cluster any more: whatever else fails on it fails for this reason. */
export function removalProblem({ memberName, since }: EtcdView): Problem {
  return {
    what: `this server was removed from the etcd cluster (member ${memberName}): it serves nobody, and agents use the others`,
    since,
    advice:
      "to have it back, restart it with --server https://<another server>:6443: it sets its old data aside and joins as a " +
      "new member; to be rid of it, stop it: systemctl disable --now keelson-server. Nothing is to be deleted for either",
  };
}

/** What is wrong with the members of embedded etcd; the lack of a quorum comes alone. */
export function etcdProblems({ state, hasQuorum, since, members }: EtcdView): Problem[] {
  const missing = members.filter(({ answers, isStarted }) => isStarted && !answers);
  if (missing.some(({ isSelf }) => isSelf)) {
    return [
      {
        what: `the etcd of this server does not answer: its process is ${state}`,
        since,
        advice: "it is started again by itself; if this stays, its lines in the server's log say why",
      },
    ];
  }
  if (!hasQuorum) {
    const who = missing.length === 0 ? "none leads yet" : `no answer from ${missing.map(describeMember).join(", ")}`;
    return [
      {
        what: `etcd has no quorum, so that nothing can be read or written in the cluster: ${who}`,
        since,
        advice:
          "start these servers, or mend the network to them: the cluster then goes on by itself and nothing is lost; only " +
          "if they are gone for good, stop this one and run keelson server --cluster-reset",
      },
    ];
  }
  return missing.map((member) => ({
    what: `etcd member ${describeMember(member)} does not answer`,
    since: member.since,
    advice:
      "start its server; if that is gone for good, release its place: kubectl delete node " +
      `${nodeOfMember(member.name)}, or keelson etcd member remove ${member.name} where it was no node`,
  }));
}

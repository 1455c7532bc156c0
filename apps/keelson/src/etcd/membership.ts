import { randomBytes } from "node:crypto";

/** A member as etcd lists it. A member that was added and has not started yet has no name and no client URLs. */
export interface EtcdMember {
  id: bigint;
  name: string;
  peerUrls: readonly string[];
  clientUrls: readonly string[];
  isLearner: boolean;
}

/** This server as it wants to be a member. */
export interface MemberIdentity {
  nodeName: string;
  /** `<node name>-<8 hex>`: unique per data directory, so that a re-created server is not taken for its predecessor. */
  memberName: string;
  peerUrl: string;
}

export type JoinPlan =
  /** Not listed: add it as a learner. */
  | { kind: "add" }
  /** Added by an earlier attempt, never started: start it. */
  | { kind: "start"; id: bigint }
  /** Another member stands for this node. */
  | { kind: "refuse"; reason: string; hint: string };

export function newMemberName(nodeName: string): string {
  return `${nodeName}-${randomBytes(4).toString("hex")}`;
}

/** The node a member name belongs to: all but the random suffix. */
export function nodeOfMember(memberName: string): string {
  return memberName.replace(/-[0-9a-f]{8}$/, "");
}

/** What a server without data has to do to become a member of a cluster with these members. */
export function planJoin(members: readonly EtcdMember[], self: MemberIdentity): JoinPlan {
  const unstarted = members.find((member) => member.name === "" && member.peerUrls.includes(self.peerUrl));
  if (unstarted !== undefined) return { kind: "start", id: unstarted.id };
  const ours = members.find((member) => member.name === self.memberName);
  if (ours?.peerUrls.includes(self.peerUrl)) return { kind: "start", id: ours.id };
  const sameNode = members.find((member) => member.name !== "" && nodeOfMember(member.name) === self.nodeName);
  if (sameNode !== undefined) {
    return {
      kind: "refuse",
      reason: `duplicate node name found: the etcd cluster has member ${sameNode.name} for node ${self.nodeName}`,
      hint: `use another --node-name, or ${release(sameNode)}`,
    };
  }
  const sameAddress = members.find((member) => member.peerUrls.includes(self.peerUrl));
  if (sameAddress !== undefined) {
    return {
      kind: "refuse",
      reason: `etcd member ${sameAddress.name} already uses ${self.peerUrl}`,
      hint: release(sameAddress),
    };
  }
  return { kind: "add" };
}

/** How the member of a server that is gone is removed; a server without an agent has no Node to delete. */
function release({ name }: EtcdMember): string {
  const byNode = `"kubectl delete node ${nodeOfMember(name)}"`;
  return `release it on a running server with ${byNode}, or, where it was no node, with "keelson etcd member remove ${name}"`;
}

/** etcd's `initial-cluster` for a joining member: every started member, and ourselves. */
export function initialCluster(members: readonly EtcdMember[], self: MemberIdentity): string {
  const pairs: string[] = [];
  for (const member of members) {
    const name = member.peerUrls.includes(self.peerUrl) ? self.memberName : member.name;
    if (name !== "") for (const url of member.peerUrls) pairs.push(`${name}=${url}`);
  }
  const own = `${self.memberName}=${self.peerUrl}`;
  if (!pairs.includes(own)) pairs.push(own);
  return pairs.join(",");
}

export function quorum(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * What an operator must know about the size and health of the cluster; undefined when all is well. One server is a
 * choice and not warned about; two are worse than one.
 */
export function quorumWarning(voters: number, healthy: number): string | undefined {
  const needed = quorum(voters);
  if (healthy < needed) {
    return `etcd has no quorum: ${healthy} of ${voters} servers answer, ${needed} are needed; writes fail until more are back`;
  }
  if (voters === 2) {
    return "two servers are NOT highly available: the loss of either one stops the cluster. Add a third server";
  }
  if (voters > 1 && healthy === needed && healthy < voters) {
    return `etcd is at the edge of its quorum: ${healthy} of ${voters} servers answer; the loss of one more stops the cluster`;
  }
  if (voters > 2 && voters % 2 === 0) {
    return `${voters} servers survive no more losses than ${voters - 1}: use an odd number`;
  }
  return undefined;
}

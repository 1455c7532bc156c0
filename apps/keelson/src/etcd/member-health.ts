import type { ConnectEtcd, EtcdStatus } from "./cluster-api.ts";
import { type EtcdMember, quorum, quorumWarning } from "./membership.ts";

/** A member and what it says of itself at this moment. */
export interface MemberHealth extends EtcdMember {
  /** It answered in time; one that was added and never started has nobody to answer. */
  answers: boolean;
  isLeader: boolean;
  /** How far it has applied the log; undefined when it does not answer. */
  appliedIndex: number | undefined;
}

export interface ClusterHealth {
  members: readonly MemberHealth[];
  voters: number;
  /** Voters that answered within the bound. */
  healthy: number;
  hasQuorum: boolean;
  warning: string | undefined;
}

/** As people and tools see a member: the id in etcd's own hexadecimal form, which JSON can carry. */
export interface MemberView {
  id: string;
  name: string;
  peerUrls: readonly string[];
  clientUrls: readonly string[];
  isLearner: boolean;
  isStarted: boolean;
  answers: boolean;
  isLeader: boolean;
  /** The member of the server that was asked. */
  isSelf: boolean;
}

const statusTimeoutMs = 2_000;

/** Asks every member how it is, all at once. One that does not answer within two seconds counts as lost. */
export function askMembers(members: readonly EtcdMember[], connect: ConnectEtcd): Promise<MemberHealth[]> {
  return Promise.all(members.map((member) => askMember(member, connect)));
}

export async function askMember(member: EtcdMember, connect: ConnectEtcd): Promise<MemberHealth> {
  const status = await statusOf(member, connect);
  return {
    ...member,
    answers: status !== undefined,
    isLeader: status?.leaderId === member.id,
    appliedIndex: status?.raftAppliedIndex,
  };
}

export function clusterHealth(members: readonly MemberHealth[]): ClusterHealth {
  const voters = members.filter(({ isLearner }) => !isLearner);
  const healthy = voters.filter(({ answers }) => answers).length;
  // Enough of them may be there and not have elected anybody yet: writes pass when one leads.
  const hasQuorum = healthy >= quorum(voters.length) && voters.some(({ isLeader }) => isLeader);
  return { members, voters: voters.length, healthy, hasQuorum, warning: quorumWarning(voters.length, healthy) };
}

export function memberView(member: MemberHealth, ownId: bigint | undefined): MemberView {
  const { id, name, peerUrls, clientUrls, isLearner, answers, isLeader } = member;
  const isSelf = id === ownId;
  return {
    id: formatMemberId(id),
    name,
    peerUrls,
    clientUrls,
    isLearner,
    isStarted: name !== "",
    answers,
    isLeader,
    isSelf,
  };
}

/** `leader`, `voter` or `learner`, and what is wrong with it, in a table's cell. */
export function memberState({ isStarted, isLearner, isLeader, answers, isSelf }: MemberView): string {
  if (!isStarted) return "never started";
  const role = isLeader ? "leader" : isLearner ? "learner" : "voter";
  return `${role}${answers ? "" : ", no answer"}${isSelf ? ", this server" : ""}`;
}

export function formatMemberId(id: bigint): string {
  return id.toString(16);
}

/** What a person calls a member; one that has not started has no name yet. */
export function describeMember({ name, peerUrls }: { name: string; peerUrls: readonly string[] }): string {
  return name === "" ? `not started, ${peerUrls.join(", ")}` : `${name} (${peerUrls.join(", ")})`;
}

async function statusOf(member: EtcdMember, connect: ConnectEtcd): Promise<EtcdStatus | undefined> {
  if (member.clientUrls.length === 0) return undefined;
  const api = connect(member.clientUrls);
  let timer: NodeJS.Timeout | undefined;
  try {
    const timeout = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), statusTimeoutMs);
    });
    const status = api.status().catch(() => undefined);
    return await Promise.race([status, timeout]);
  } finally {
    clearTimeout(timer);
    api.close();
  }
}

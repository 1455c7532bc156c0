import { type Clock, errorMessage, KeelsonError } from "@keelson/service";
import type { EtcdClusterApi } from "./cluster-api.ts";
import { pause } from "./join.ts";
import { clusterHealth, describeMember, formatMemberId, type MemberHealth } from "./member-health.ts";
import { nodeOfMember, quorum } from "./membership.ts";

const removalTimeoutMs = 30_000;

/**
 * Removes a member. etcd refuses changes of its membership until all voters it has heard of have been connected for five
 * seconds, so it is asked again for half a minute.
 */
export async function removeWhenHealthy(
  cluster: EtcdClusterApi,
  id: bigint,
  { clock, signal }: { clock: Clock; signal: AbortSignal },
): Promise<void> {
  const deadline = clock.monotonic() + removalTimeoutMs;
  for (;;) {
    try {
      return await cluster.memberRemove(id);
    } catch (error) {
      if (!/unhealthy cluster/.test(errorMessage(error)) || clock.monotonic() > deadline) throw error;
      await pause(clock, 1_000, signal);
    }
  }
}

/** The one member that a name, the name of its node, or an id (hexadecimal, as etcdctl prints it) stands for. */
export function findMember(members: readonly MemberHealth[], wanted: string): MemberHealth {
  const exact = members.filter(({ id, name }) => name === wanted || formatMemberId(id) === wanted.toLowerCase());
  const found = exact.length > 0 ? exact : members.filter(({ name }) => name !== "" && nodeOfMember(name) === wanted);
  if (found.length === 1) return found[0]!;
  const hint = "see keelson etcd member ls";
  throw found.length === 0
    ? new KeelsonError("etcd/no-member", `etcd has no member "${wanted}"`, { hint })
    : new KeelsonError("etcd/ambiguous-member", `"${wanted}" stands for several members: use an id`, { hint });
}

/** Throws when the removal cannot succeed, or would harm the cluster or this server and was not forced. */
export function checkRemoval(
  members: readonly MemberHealth[],
  target: MemberHealth,
  { ownId, force }: { ownId: bigint; force: boolean },
): void {
  const voters = members.filter(({ isLearner }) => !isLearner);
  if (!clusterHealth(members).hasQuorum) {
    const missing = voters.filter(({ answers }) => !answers).map(describeMember);
    throw new KeelsonError(
      "etcd/no-quorum",
      `etcd has no quorum, so that no member can be removed: no answer from ${missing.join(", ") || "a leader"}`,
      {
        hint: "start these servers; if they are gone for good, stop this one and run: keelson server --cluster-reset",
      },
    );
  }
  if (!target.isLearner && voters.length === 1) {
    throw new KeelsonError("etcd/last-member", `${describeMember(target)} is the only voting member of the cluster`, {
      hint: "to end the cluster, stop its server",
    });
  }
  if (force) return;
  const left = voters.filter((voter) => voter !== target);
  const healthy = left.filter(({ answers }) => answers).length;
  if (healthy < quorum(left.length)) {
    throw new KeelsonError(
      "etcd/loses-quorum",
      `without ${describeMember(target)} etcd loses its quorum: ${healthy} of ${left.length} members would answer, ` +
        `${quorum(left.length)} are needed`,
      { hint: "remove or start the members first that do not answer, or insist with --force" },
    );
  }
  if (target.id === ownId) {
    throw new KeelsonError(
      "etcd/own-member",
      `${describeMember(target)} is this server itself: it would serve nobody`,
      {
        hint: "run the command on another server, or insist with --force",
      },
    );
  }
}

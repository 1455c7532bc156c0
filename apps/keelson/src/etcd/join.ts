import { type Clock, errorMessage, KeelsonError, type Logger } from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi } from "./cluster-api.ts";
import { type EtcdMember, initialCluster, type MemberIdentity, planJoin } from "./membership.ts";

const retryMs = 1_000;

export interface JoinContext {
  self: MemberIdentity;
  /** The members as another server lists them (`/db/info`). */
  members: () => Promise<readonly EtcdMember[]>;
  connect: ConnectEtcd;
  clock: Clock;
  log: Logger;
  timeoutMs: number;
  signal: AbortSignal;
}

/**
 * Adds this server to the cluster as a learner, unless an earlier attempt did, and resolves to etcd's `initial-cluster`.
 * Waits where waiting helps: etcd takes one learner at a time, and none while a member is unwell.
 */
export async function joinCluster(context: JoinContext): Promise<string> {
  const { self, connect, clock, log, signal } = context;
  const deadline = clock.monotonic() + context.timeoutMs;
  for (;;) {
    signal.throwIfAborted();
    let cluster: EtcdClusterApi | undefined;
    try {
      cluster = connect(votersOf(await context.members()));
      const members = await cluster.memberList();
      const plan = planJoin(members, self);
      if (plan.kind === "refuse") throw new KeelsonError("etcd/join-refused", plan.reason, { hint: plan.hint });
      if (plan.kind === "start") return initialCluster(members, self);
      log.info({ member: self.memberName, peerUrl: self.peerUrl }, "joining the etcd cluster as a learner");
      return initialCluster(await cluster.memberAddAsLearner([self.peerUrl]), self);
    } catch (error) {
      if (error instanceof KeelsonError && error.code === "etcd/join-refused") throw error;
      if (clock.monotonic() + retryMs > deadline) {
        throw new KeelsonError("etcd/join-failed", `cannot join the etcd cluster: ${errorMessage(error)}`, {
          hint: 'check the health of the other servers: "keelson status", and etcd\'s lines in their logs',
          cause: error,
        });
      }
      log.info({ reason: errorMessage(error) }, "cannot join the etcd cluster yet, trying again");
      await pause(clock, retryMs, signal);
    } finally {
      cluster?.close();
    }
  }
}

/** Asks for the promotion of this learner until it votes. The leader does the same; whoever comes first. */
export async function becomeVoter(memberId: bigint, context: JoinContext): Promise<void> {
  const { clock, log, signal } = context;
  for (;;) {
    signal.throwIfAborted();
    let cluster: EtcdClusterApi | undefined;
    try {
      cluster = context.connect(votersOf(await context.members()));
      const self = (await cluster.memberList()).find((member) => member.id === memberId);
      if (self !== undefined && !self.isLearner) return;
      await cluster.memberPromote(memberId);
      log.info({ member: context.self.memberName }, "promoted to a voting member");
      return;
    } catch (error) {
      log.debug({ reason: errorMessage(error) }, "still a learner");
      await pause(clock, retryMs, signal);
    } finally {
      cluster?.close();
    }
  }
}

/** Learners refuse most calls, so only voters are asked. */
function votersOf(members: readonly EtcdMember[]): string[] {
  const urls = members.filter((member) => !member.isLearner).flatMap((member) => member.clientUrls);
  if (urls.length === 0) throw new KeelsonError("etcd/no-members", "the server names no etcd member to talk to");
  return urls;
}

/** Waits on the clock; rejects with the signal's reason when it aborts. */
export function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      timer.cancel();
      reject(signal.reason);
    };
    const timer = clock.setTimeout(() => {
      signal.removeEventListener("abort", onAbort);
      resolve();
    }, delayMs);
    signal.addEventListener("abort", onAbort, { once: true });
  });
}

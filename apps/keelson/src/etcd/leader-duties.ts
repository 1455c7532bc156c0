import { type Clock, errorMessage, type Logger, Rounds } from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi } from "./cluster-api.ts";
import { formatProgress, judgeLearner, learnerProgressKey, parseProgress } from "./learners.ts";
import { askMember, askMembers, type ClusterHealth, clusterHealth, describeMember } from "./member-health.ts";
import type { EtcdMember } from "./membership.ts";

const periodMs = 15_000;

/**
 * What a member does every 15 seconds: while it leads it looks after learners and says when the quorum is in danger;
 * when nobody leads, each says so, since there is no leader to speak for all.
 */
export class LeaderDuties {
  readonly #cluster: EtcdClusterApi;
  readonly #connect: ConnectEtcd;
  readonly #log: Logger;
  readonly #clock: Clock;
  readonly #rounds: Rounds;
  #lastWarning: string | undefined;
  #lostQuorum = false;

  constructor(cluster: EtcdClusterApi, connect: ConnectEtcd, deps: { log: Logger; clock: Clock }) {
    this.#cluster = cluster;
    this.#connect = connect;
    this.#log = deps.log;
    this.#clock = deps.clock;
    this.#rounds = new Rounds(() => this.#perform(), {
      clock: deps.clock,
      periodMs,
      onError: (error) => deps.log.warn({ err: error }, "cannot check the etcd cluster"),
    });
  }

  start(): void {
    this.#rounds.start();
    void this.#rounds.now();
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #perform(): Promise<void> {
    const status = await this.#cluster.status();
    await this.#watchQuorum(status.leaderId !== 0n);
    if (status.leaderId !== status.memberId) return;
    const health = await checkHealth(this.#cluster, this.#connect);
    if (health.warning !== undefined && health.warning !== this.#lastWarning) this.#log.warn(health.warning);
    if (health.warning === undefined && this.#lastWarning !== undefined) this.#log.info("etcd is healthy again");
    this.#lastWarning = health.warning;
    await tendLearners(health.members, this.#cluster, this.#connect, this.#log, this.#clock.now());
  }

  /** An election leaves the cluster without a leader for a moment; what counts is that too few are there to elect one. */
  async #watchQuorum(hasLeader: boolean): Promise<void> {
    if (hasLeader) {
      if (this.#lostQuorum) this.#log.info("etcd has its quorum again: reads and writes go on");
      this.#lostQuorum = false;
      return;
    }
    if (this.#lostQuorum) return;
    const { members, voters, healthy } = await checkHealth(this.#cluster, this.#connect);
    const unreachable = members.filter(({ answers }) => !answers).map(describeMember);
    if (unreachable.length === 0) return;
    this.#lostQuorum = true;
    this.#log.error(
      { unreachable },
      `etcd has lost its quorum: ${healthy} of ${voters} servers answer; nothing can be read or written until more are back`,
    );
  }
}

/** Asks every member how it is. One that does not answer in time counts as lost; learners have no vote to lose. */
export async function checkHealth(cluster: EtcdClusterApi, connect: ConnectEtcd): Promise<ClusterHealth> {
  return clusterHealth(await askMembers(await cluster.memberList(), connect));
}

/**
 * What the leader does for learners, as often as in K3s: promotes those that have caught up, keeps a record of
 * the progress of the others, and removes one that has not moved for five minutes.
 */
export async function tendLearners(
  members: readonly EtcdMember[],
  cluster: EtcdClusterApi,
  connect: ConnectEtcd,
  log: Logger,
  nowMs: number,
): Promise<void> {
  for (const learner of members.filter((member) => member.isLearner)) {
    try {
      await cluster.memberPromote(learner.id);
      log.info({ member: learner.name }, "promoted a learner to a voting member");
      await cluster.delete(learnerProgressKey);
      continue;
    } catch (error) {
      log.debug({ member: learner.name, reason: errorMessage(error) }, "learner cannot be promoted yet");
    }
    const previous = await cluster.get(learnerProgressKey);
    const action = judgeLearner(
      previous === undefined ? undefined : parseProgress(previous),
      { id: learner.id, name: learner.name, appliedIndex: (await askMember(learner, connect)).appliedIndex },
      nowMs,
    );
    if (action.kind === "remove") {
      await cluster.memberRemove(learner.id);
      await cluster.delete(learnerProgressKey);
      log.warn({ member: learner.name }, "removed a learner that made no progress for five minutes");
    } else {
      await cluster.put(learnerProgressKey, formatProgress(action.progress));
    }
  }
}

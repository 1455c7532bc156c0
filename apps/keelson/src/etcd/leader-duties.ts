import { type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ConnectEtcd, EtcdClusterApi } from "./cluster-api.ts";
import { formatProgress, judgeLearner, learnerProgressKey, parseProgress } from "./learners.ts";
import { type EtcdMember, quorumWarning } from "./membership.ts";

export interface ClusterHealth {
  members: readonly EtcdMember[];
  voters: number;
  /** Voters that answered within the bound. */
  healthy: number;
  warning: string | undefined;
}

const statusTimeoutMs = 2_000;
const periodMs = 15_000;

/** What a member does every 15 seconds while it leads: looks after learners, and says when the quorum is in danger. */
export class LeaderDuties {
  readonly #cluster: EtcdClusterApi;
  readonly #connect: ConnectEtcd;
  readonly #log: Logger;
  readonly #clock: Clock;
  #timer: Timer | undefined;
  #running: Promise<void> | undefined;
  #lastWarning: string | undefined;

  constructor(cluster: EtcdClusterApi, connect: ConnectEtcd, deps: { log: Logger; clock: Clock }) {
    this.#cluster = cluster;
    this.#connect = connect;
    this.#log = deps.log;
    this.#clock = deps.clock;
  }

  start(): void {
    this.#timer = this.#clock.setInterval(() => this.#begin(), periodMs);
    this.#begin();
  }

  async stop(): Promise<void> {
    this.#timer?.cancel();
    await this.#running;
  }

  #begin(): void {
    this.#running ??= this.#perform()
      .catch((error: unknown) => this.#log.warn({ err: error }, "cannot check the etcd cluster"))
      .finally(() => {
        this.#running = undefined;
      });
  }

  async #perform(): Promise<void> {
    const status = await this.#cluster.status();
    if (status.leaderId !== status.memberId) return;
    const health = await checkHealth(this.#cluster, this.#connect);
    if (health.warning !== undefined && health.warning !== this.#lastWarning) this.#log.warn(health.warning);
    if (health.warning === undefined && this.#lastWarning !== undefined) this.#log.info("etcd is healthy again");
    this.#lastWarning = health.warning;
    await tendLearners(health.members, this.#cluster, this.#connect, this.#log, this.#clock.now());
  }
}

/** Asks every voter how it is. A member that does not answer in time counts as lost. */
export async function checkHealth(cluster: EtcdClusterApi, connect: ConnectEtcd): Promise<ClusterHealth> {
  const members = await cluster.memberList();
  const voters = members.filter((member) => !member.isLearner);
  const answers = await Promise.all(voters.map((member) => appliedIndex(member, connect)));
  const healthy = answers.filter((answer) => answer !== undefined).length;
  return { members, voters: voters.length, healthy, warning: quorumWarning(voters.length, healthy) };
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
      { id: learner.id, name: learner.name, appliedIndex: await appliedIndex(learner, connect) },
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

async function appliedIndex(member: EtcdMember, connect: ConnectEtcd): Promise<number | undefined> {
  if (member.clientUrls.length === 0) return undefined;
  const api = connect(member.clientUrls);
  let timer: NodeJS.Timeout | undefined;
  try {
    const timeout = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), statusTimeoutMs);
    });
    const status = api.status().then(
      (answer) => answer.raftAppliedIndex,
      () => undefined,
    );
    return await Promise.race([status, timeout]);
  } finally {
    clearTimeout(timer);
    api.close();
  }
}

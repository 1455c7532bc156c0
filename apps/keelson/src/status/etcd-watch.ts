import { type Clock, errorMessage, type Logger, Rounds, type Service } from "@keelson/service";
import type { EmbeddedEtcd, EmbeddedEtcdStatus } from "../etcd/embedded-etcd.ts";
import { type MemberView, memberView } from "../etcd/member-health.ts";

/** The members of embedded etcd as this server sees them; moments are of the monotonic clock. */
export interface EtcdState {
  memberName: string;
  /** Of our own member's process, or `removed`. */
  state: EmbeddedEtcdStatus["state"];
  hasQuorum: boolean;
  /** Since when there is a quorum or none. */
  sinceMs: number;
  members: readonly (MemberView & { sinceMs: number })[];
}

const intervalMs = 5_000;

/** Asks the members of embedded etcd every five seconds how they are: from the first moment on, when status is most wanted. */
export class EtcdWatch implements Service {
  readonly #etcd: Pick<EmbeddedEtcd, "status">;
  readonly #clock: Clock;
  readonly #rounds: Rounds;
  #state: EtcdState | undefined;

  constructor(etcd: Pick<EmbeddedEtcd, "status">, { log, clock }: { log: Logger; clock: Clock }) {
    this.#etcd = etcd;
    this.#clock = clock;
    this.#rounds = new Rounds(() => this.#ask(), {
      clock,
      periodMs: intervalMs,
      onError: (error) => log.debug({ reason: errorMessage(error) }, "etcd gives no status"),
    });
  }

  /** Undefined before this server's member runs. */
  get state(): EtcdState | undefined {
    return this.#state;
  }

  async start(): Promise<void> {
    this.#rounds.start();
    void this.#rounds.now();
  }

  stop(): Promise<void> {
    return this.#rounds.stop();
  }

  async #ask(): Promise<void> {
    const { memberName, state, cluster } = await this.#etcd.status();
    const before = this.#state;
    if (cluster === undefined && state !== "removed" && before === undefined) return;
    const nowMs = this.#clock.monotonic();
    const ownId = cluster?.members.find(({ name }) => name === memberName)?.id;
    // Without an answer of our own etcd, what is known of the others is what it said last.
    const views = cluster?.members.map((member) => memberView(member, ownId)) ?? withoutOwn(before?.members ?? []);
    const hasQuorum = cluster?.hasQuorum ?? false;
    this.#state = {
      memberName,
      state,
      hasQuorum,
      sinceMs: before?.hasQuorum === hasQuorum ? before.sinceMs : nowMs,
      members: views.map((view) => {
        const last = before?.members.find(({ id }) => id === view.id);
        return { ...view, sinceMs: last?.answers === view.answers ? last.sinceMs : nowMs };
      }),
    };
  }
}

function withoutOwn(members: EtcdState["members"]): MemberView[] {
  return members.map((member) => (member.isSelf ? { ...member, answers: false, isLeader: false } : member));
}

import { alarmActions, alarmTypes, etcdErrors, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { messageMethod } from "./message-method.ts";

/** The setting that keeps alarms across restarts: `<member id>:<alarm>` separated by commas. */
const settingName = "alarms";

/** Names by AlarmType. */
export const alarmNames = ["NONE", "NOSPACE", "CORRUPT"];

interface Alarm {
  memberId: bigint;
  alarm: number;
}

/** etcd's alarms: NOSPACE refuses requests that put, CORRUPT only shows. */
export class Alarms {
  readonly #core: Core;

  constructor(core: Core) {
    this.#core = core;
  }

  get active(): Alarm[] {
    const stored = this.#core.state.settings.get(settingName) ?? "";
    return stored
      .split(",")
      .filter((entry) => entry !== "")
      .map((entry) => {
        const [memberId = "0", alarm = "0"] = entry.split(":");
        return { memberId: BigInt(memberId), alarm: Number(alarm) };
      });
  }

  /** To be asked while a write is evaluated: on a shared database no sooner is it known what other replicas raised. */
  refuseWhenFull(): void {
    if (this.#core.log.isFull) throw etcdErrors.noSpace();
    if (!this.#core.state.settings.has(settingName)) return;
    if (this.active.some(({ alarm }) => alarm === alarmTypes.noSpace)) throw etcdErrors.noSpace();
  }

  method(): UnaryMethod {
    return messageMethod(services.maintenance.alarm, async (request) => {
      await this.#core.linearize();
      const memberId = request.memberId === 0n ? this.#core.state.memberId : request.memberId;
      const same = (other: Alarm): boolean => other.memberId === memberId && other.alarm === request.alarm;
      switch (request.action) {
        case alarmActions.activate: {
          const alarm = { memberId, alarm: request.alarm };
          await this.#change((active) => (active.some(same) ? active : [...active, alarm]));
          return { header: this.#core.header(), alarms: [alarm] };
        }
        case alarmActions.deactivate: {
          let ended: Alarm[] = [];
          await this.#change((active) => {
            ended = active.filter(same);
            return active.filter((other) => !same(other));
          });
          return { header: this.#core.header(), alarms: ended };
        }
        default: {
          const shown = this.active.filter(({ alarm }) => request.alarm === alarmTypes.none || alarm === request.alarm);
          return { header: this.#core.header(), alarms: shown };
        }
      }
    });
  }

  /** Changes the alarms in the order of all writes, so that two replicas do not undo each other's. */
  async #change(next: (active: Alarm[]) => Alarm[]): Promise<void> {
    await this.#core.write((scope) => {
      const { settings } = this.#core.state;
      const before = settings.get(settingName);
      const value = next(this.active)
        .map(({ memberId, alarm }) => `${memberId}:${alarm}`)
        .join(",");
      if (value === (before ?? "")) return;
      scope.settings.set(settingName, value === "" ? undefined : value);
      if (value === "") settings.delete(settingName);
      else settings.set(settingName, value);
      scope.onRollback(() => {
        if (before === undefined) settings.delete(settingName);
        else settings.set(settingName, before);
      });
    });
  }
}

import { etcdErrors, services } from "@keelson/protocol/etcd";
import { type Core, raftTerm } from "../core.ts";
import type { Method } from "../server/rpc.ts";
import { unimplemented } from "../server/status.ts";
import { type Alarms, alarmNames } from "./alarms.ts";
import { messageMethod } from "./message-method.ts";

/** The etcd release whose behaviour this server follows; clients and kube-apiserver derive features from it. */
export const emulatedEtcdVersion = "3.6.11";

/** etcdserverpb.Maintenance, but Hash, HashKV and Snapshot (see snapshot.ts and hash.ts). */
export function maintenanceService(core: Core, alarms: Alarms): Method[] {
  return [
    alarms.method(),
    messageMethod(services.maintenance.status, async () => {
      const { total, inUse } = await core.log.size();
      const { committed } = core.store;
      const { memberId } = core.state;
      return {
        header: core.header(),
        version: emulatedEtcdVersion,
        storageVersion: "3.6.0",
        dbSize: total,
        dbSizeInUse: inUse,
        // There is no raft: every replica may write, so each is the leader for its clients.
        leader: memberId,
        raftTerm,
        raftIndex: committed,
        raftAppliedIndex: committed,
        errors: alarms.active.map(({ memberId: id, alarm }) => `memberID:${id} alarm:${alarmNames[alarm] ?? alarm} `),
      };
    }),
    messageMethod(services.maintenance.defragment, async () => {
      await core.log.defragment();
      return {};
    }),
    messageMethod(services.maintenance.moveLeader, ({ targetId }) => {
      if (targetId !== core.state.memberId) throw etcdErrors.badLeaderTransferee();
      return { header: core.header() };
    }),
    messageMethod(services.maintenance.downgrade, () => {
      throw unimplemented("the storage has no etcd version that could be downgraded");
    }),
  ];
}

import { etcdErrors, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import type { UnaryMethod } from "../server/rpc.ts";
import { unimplemented } from "../server/status.ts";
import { messageMethod } from "./message-method.ts";

/**
 * etcdserverpb.Cluster. The members are the live replicas on one database; they come and go by themselves, so a
 * request to change them by hand is refused.
 */
export function clusterService(core: Core): UnaryMethod[] {
  const known = async (id: bigint): Promise<void> => {
    const members = await core.log.members();
    if (!members.some((member) => member.id === id)) throw etcdErrors.memberNotFound();
    throw unimplemented("members are the replicas that run; start or stop one instead");
  };
  return [
    messageMethod(services.cluster.memberList, async (_request, info) => {
      const members = await core.log.members();
      return {
        header: { ...core.header(), revision: 0 },
        members: members.map(({ id, name, clientUrls }) => ({
          id,
          name,
          peerUrls: [],
          clientUrls: clientUrls.length > 0 ? clientUrls : [`http://${info.authority}`],
        })),
      };
    }),
    messageMethod(services.cluster.memberAdd, () => {
      throw unimplemented("start another replica on the same database instead of adding a member");
    }),
    messageMethod(services.cluster.memberRemove, async ({ id }) => {
      await known(id);
      return {};
    }),
    messageMethod(services.cluster.memberUpdate, async ({ id }) => {
      await known(id);
      return {};
    }),
    messageMethod(services.cluster.memberPromote, async ({ id }) => {
      await known(id);
      return {};
    }),
  ];
}

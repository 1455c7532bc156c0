import { dataDirOption, defineOptions, errorCode, errorMessage, KeelsonError, systemClock } from "@keelson/service";
import { defineCommand } from "../cli/command.ts";
import { outputOptions, printList } from "../cli/output.ts";
import type { EtcdClusterApi } from "./cluster-api.ts";
import { defaultPorts, localClientUrl } from "./config.ts";
import { connectEtcd } from "./connect.ts";
import { etcdLayout } from "./layout.ts";
import { askMembers, describeMember, type MemberHealth, memberState, memberView } from "./member-health.ts";
import { checkRemoval, findMember, removeWhenHealthy } from "./member-removal.ts";

const hostOptions = defineOptions({
  "data-dir": { ...dataDirOption, help: "Folder of this server" },
  "etcd-client-port": {
    type: "number",
    default: defaultPorts.client,
    placeholder: "port",
    help: "etcd's client port",
    hidden: true,
  },
});

const removeOptions = {
  ...hostOptions,
  ...defineOptions({
    force: { type: "boolean", help: "Remove it even when it is this server, or the cluster then stops" },
  }),
};

/** `keelson etcd member ls` */
export const listCommand = defineCommand({
  options: { ...hostOptions, ...outputOptions },
  async run({ options, print }) {
    return withCluster(options["data-dir"], options["etcd-client-port"], async ({ members, ownId }) => {
      const views = members.map((member) => memberView(member, ownId));
      await printList(print, options.output, views, ["ID", "NAME", "STATE", "PEER", "CLIENT"], (view) => [
        view.id,
        view.name,
        memberState(view),
        view.peerUrls.join(","),
        view.clientUrls.join(","),
      ]);
    });
  },
});

/** `keelson etcd member remove <name|id>` */
export const removeCommand = defineCommand({
  options: removeOptions,
  usage: "<name|id>",
  async run({ options, args, print }) {
    const [wanted, ...more] = args;
    if (wanted === undefined || more.length > 0) {
      throw new KeelsonError("cli/usage", "name one member", { hint: "see keelson etcd member ls" });
    }
    return withCluster(options["data-dir"], options["etcd-client-port"], async ({ cluster, members, ownId }) => {
      const member = findMember(members, wanted);
      checkRemoval(members, member, { ownId, force: options.force });
      const signal = new AbortController().signal;
      await removeWhenHealthy(cluster, member.id, { clock: systemClock, signal });
      print(`etcd member ${describeMember(member)} removed`);
    });
  },
});

interface Cluster {
  cluster: EtcdClusterApi;
  members: readonly MemberHealth[];
  ownId: bigint;
}

/** Asks the etcd of this host, with the certificates on its disk. */
async function withCluster(
  dataDir: string,
  clientPort: number,
  action: (cluster: Cluster) => Promise<void>,
): Promise<number> {
  const connect = connectEtcd(etcdLayout(dataDir).certificates);
  const cluster = connect([localClientUrl({ clientPort })]);
  try {
    const listed = await Promise.all([cluster.memberList(), cluster.status()]).catch((error: unknown) => {
      throw unreachable(dataDir, error);
    });
    const [members, { memberId: ownId }] = listed;
    await action({ cluster, members: await askMembers(members, connect), ownId });
    return 0;
  } finally {
    cluster.close();
  }
}

function unreachable(dataDir: string, cause: unknown): KeelsonError {
  if (errorCode(cause) === "ENOENT") {
    return new KeelsonError("etcd/none", `no server with embedded etcd has run with the data directory ${dataDir}`, {
      hint: "run this on a server, and name its folder with --data-dir",
      cause,
    });
  }
  return new KeelsonError("etcd/unreachable", `the etcd of this server does not answer: ${errorMessage(cause)}`, {
    hint: "keelson status says whether the server runs; run this on another server otherwise",
    cause,
  });
}

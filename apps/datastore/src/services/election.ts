import { grpcStatus, keyValue, leaderRequest, leaderResponse, RpcError, services } from "@keelson/protocol/etcd";
import type { Core } from "../core.ts";
import { evaluatePut } from "../engine/txn-evaluate.ts";
import type { Version } from "../engine/version.ts";
import type { Method } from "../server/rpc.ts";
import { WatchStream } from "../watch/watch-stream.ts";
import { deleteKey } from "./delete-key.ts";
import { sessionLease } from "./grant-lease.ts";
import { enqueue, oldest, ownerKey, waitForTurn } from "./key-waiter.ts";
import { waitOrLeave } from "./lock.ts";
import { decodeMessage, messageMethod } from "./message-method.ts";

/** v3electionpb.Election: the leader is the oldest key under the election's name; its value is what it proclaims. */
export function electionService(core: Core, alarms: { refuseWhenFull(): void }): Method[] {
  return [
    messageMethod(services.election.campaign, async (request, info) => {
      const { name, value } = request;
      const lease = await sessionLease(core, alarms, request.lease);
      const key = ownerKey(name, lease);
      const { version, created } = await enqueue(core, alarms, key, lease, value);
      const { createRevision } = version;
      if (!created) await proclaim(core, alarms, key, createRevision, value);
      await waitOrLeave(core, info, created, key, (signal) => waitForTurn(core, name, version, signal));
      return { header: core.header(), leader: { name, key: Buffer.from(key, "latin1"), rev: createRevision, lease } };
    }),
    messageMethod(services.election.proclaim, async ({ leader, value }) => {
      if (leader === undefined) throw missingLeaderKey();
      const revision = await proclaim(core, alarms, leader.key.toString("latin1"), leader.rev, value);
      return { header: core.header(revision) };
    }),
    messageMethod(services.election.leader, async ({ name }) => {
      await core.linearize();
      const leader = oldest(core, prefixOf(name));
      if (leader === undefined) throw noLeader();
      return { header: core.header(), kv: await shown(core, leader) };
    }),
    messageMethod(services.election.resign, async ({ leader }) => {
      if (leader === undefined) throw missingLeaderKey();
      return { header: core.header(await deleteKey(core, leader.key.toString("latin1"), leader.rev)) };
    }),
    {
      kind: "stream",
      path: services.election.observe.path,
      open(stream) {
        let watches: WatchStream | undefined;
        return {
          onMessage(message) {
            const { name } = decodeMessage(leaderRequest, message);
            watches?.close();
            watches = observe(core, prefixOf(name), (leader) => {
              shown(core, leader)
                .then((kv) => stream.send([leaderResponse.encode({ header: core.header(), kv })]))
                .catch((error) => stream.end(error));
            });
          },
          onHalfClose() {},
          onClosed: () => watches?.close(),
        };
      },
    },
  ];
}

/** Calls back with the present leader and with each new leader or proclamation. */
function observe(core: Core, prefix: string, onLeader: (leader: Version) => void): WatchStream {
  let last: Version | undefined;
  const look = (): void => {
    const leader = oldest(core, prefix);
    if (leader === undefined || leader === last) return;
    last = leader;
    onLeader(leader);
  };
  const watches = new WatchStream(core.hub, { pendingBytes: 0, send: look });
  watches.create(0, 0, {
    key: prefix,
    // The prefix ends with a slash, and a zero follows it.
    rangeEnd: `${prefix.slice(0, -1)}0`,
    prevKv: false,
    progressNotify: false,
    noPut: false,
    noDelete: false,
    fragment: false,
  });
  return watches;
}

/** Writes a new value, under the lease the key has, as long as it is of the same creation. */
function proclaim(
  core: Core,
  alarms: { refuseWhenFull(): void },
  key: string,
  createRevision: number,
  value: Uint8Array,
): Promise<number> {
  return core.write((scope) => {
    alarms.refuseWhenFull();
    const head = core.store.index.get(key)?.head;
    if (head === undefined || head.version === 0 || head.createRevision !== createRevision) throw notLeader();
    evaluatePut(scope, {
      kind: "put",
      key,
      value,
      lease: 0n,
      prevKv: false,
      ignoreValue: false,
      ignoreLease: true,
    });
  });
}

async function shown(core: Core, version: Version) {
  const [bytes] = await core.cache.loadCopies([version]);
  return bytes && keyValue.decode(bytes);
}

function prefixOf(name: Uint8Array): string {
  return `${Buffer.from(name).toString("latin1")}/`;
}

function missingLeaderKey(): RpcError {
  return new RpcError(grpcStatus.invalidArgument, '"leader" field must be provided');
}

function noLeader(): RpcError {
  return new RpcError(grpcStatus.unknown, "election: no leader");
}

function notLeader(): RpcError {
  return new RpcError(grpcStatus.unknown, "election: not leader");
}

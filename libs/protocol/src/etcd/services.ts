import { authMethods } from "./auth-messages.ts";
import * as cluster from "./cluster-messages.ts";
import type { Codec } from "./codec.ts";
import * as kv from "./kv-messages.ts";
import * as watch from "./watch-lease-messages.ts";

/** How a method streams. */
export type Streaming = "unary" | "server" | "bidi";

/** A method of a service, independent of any transport. */
export interface MethodDescriptor<Request = unknown, Response = unknown> {
  /** gRPC path, `/etcdserverpb.KV/Range`. */
  path: string;
  streaming: Streaming;
  request: Codec<Request>;
  response: Codec<Response>;
  /** Paths of the JSON gateway, POST only. */
  jsonPaths: readonly string[];
}

function method<Request, Response>(
  path: string,
  request: Codec<Request>,
  response: Codec<Response>,
  jsonPaths: readonly string[] = [],
  streaming: Streaming = "unary",
): MethodDescriptor<Request, Response> {
  return { path, streaming, request, response, jsonPaths };
}

/** Every method, by service. Source: etcd's rpc.proto, v3lock.proto, v3election.proto and their gateway annotations. */
export const services = {
  kv: {
    range: method("/etcdserverpb.KV/Range", kv.rangeRequest, kv.rangeResponse, ["/v3/kv/range"]),
    rangeStream: method("/etcdserverpb.KV/RangeStream", kv.rangeRequest, kv.rangeStreamResponse, [], "server"),
    put: method("/etcdserverpb.KV/Put", kv.putRequest, kv.putResponse, ["/v3/kv/put"]),
    deleteRange: method("/etcdserverpb.KV/DeleteRange", kv.deleteRangeRequest, kv.deleteRangeResponse, [
      "/v3/kv/deleterange",
    ]),
    txn: method("/etcdserverpb.KV/Txn", kv.txnRequest, kv.txnResponse, ["/v3/kv/txn"]),
    compact: method("/etcdserverpb.KV/Compact", kv.compactionRequest, kv.compactionResponse, ["/v3/kv/compaction"]),
  },
  watch: {
    watch: method("/etcdserverpb.Watch/Watch", watch.watchRequest, watch.watchResponse, ["/v3/watch"], "bidi"),
  },
  lease: {
    grant: method("/etcdserverpb.Lease/LeaseGrant", watch.leaseGrantRequest, watch.leaseGrantResponse, [
      "/v3/lease/grant",
    ]),
    revoke: method("/etcdserverpb.Lease/LeaseRevoke", watch.leaseRevokeRequest, watch.leaseRevokeResponse, [
      "/v3/lease/revoke",
      "/v3/kv/lease/revoke",
    ]),
    keepAlive: method(
      "/etcdserverpb.Lease/LeaseKeepAlive",
      watch.leaseKeepAliveRequest,
      watch.leaseKeepAliveResponse,
      ["/v3/lease/keepalive"],
      "bidi",
    ),
    timeToLive: method(
      "/etcdserverpb.Lease/LeaseTimeToLive",
      watch.leaseTimeToLiveRequest,
      watch.leaseTimeToLiveResponse,
      ["/v3/lease/timetolive", "/v3/kv/lease/timetolive"],
    ),
    leases: method("/etcdserverpb.Lease/LeaseLeases", watch.leaseLeasesRequest, watch.leaseLeasesResponse, [
      "/v3/lease/leases",
      "/v3/kv/lease/leases",
    ]),
  },
  cluster: {
    memberAdd: method("/etcdserverpb.Cluster/MemberAdd", cluster.memberAddRequest, cluster.memberAddResponse, [
      "/v3/cluster/member/add",
    ]),
    memberRemove: method(
      "/etcdserverpb.Cluster/MemberRemove",
      cluster.memberRemoveRequest,
      cluster.memberRemoveResponse,
      ["/v3/cluster/member/remove"],
    ),
    memberUpdate: method(
      "/etcdserverpb.Cluster/MemberUpdate",
      cluster.memberUpdateRequest,
      cluster.memberUpdateResponse,
      ["/v3/cluster/member/update"],
    ),
    memberList: method("/etcdserverpb.Cluster/MemberList", cluster.memberListRequest, cluster.memberListResponse, [
      "/v3/cluster/member/list",
    ]),
    memberPromote: method(
      "/etcdserverpb.Cluster/MemberPromote",
      cluster.memberPromoteRequest,
      cluster.memberPromoteResponse,
      ["/v3/cluster/member/promote"],
    ),
  },
  maintenance: {
    alarm: method("/etcdserverpb.Maintenance/Alarm", cluster.alarmRequest, cluster.alarmResponse, [
      "/v3/maintenance/alarm",
    ]),
    status: method("/etcdserverpb.Maintenance/Status", cluster.statusRequest, cluster.statusResponse, [
      "/v3/maintenance/status",
    ]),
    defragment: method("/etcdserverpb.Maintenance/Defragment", cluster.defragmentRequest, cluster.defragmentResponse, [
      "/v3/maintenance/defragment",
    ]),
    hash: method("/etcdserverpb.Maintenance/Hash", cluster.hashRequest, cluster.hashResponse, ["/v3/maintenance/hash"]),
    hashKv: method("/etcdserverpb.Maintenance/HashKV", cluster.hashKvRequest, cluster.hashKvResponse, [
      "/v3/maintenance/hashkv",
    ]),
    snapshot: method(
      "/etcdserverpb.Maintenance/Snapshot",
      cluster.snapshotRequest,
      cluster.snapshotResponse,
      ["/v3/maintenance/snapshot"],
      "server",
    ),
    moveLeader: method("/etcdserverpb.Maintenance/MoveLeader", cluster.moveLeaderRequest, cluster.moveLeaderResponse, [
      "/v3/maintenance/transfer-leadership",
    ]),
    downgrade: method("/etcdserverpb.Maintenance/Downgrade", cluster.downgradeRequest, cluster.downgradeResponse, [
      "/v3/maintenance/downgrade",
    ]),
  },
  lock: {
    lock: method("/v3lockpb.Lock/Lock", cluster.lockRequest, cluster.lockResponse, ["/v3/lock/lock"]),
    unlock: method("/v3lockpb.Lock/Unlock", cluster.unlockRequest, cluster.unlockResponse, ["/v3/lock/unlock"]),
  },
  election: {
    campaign: method("/v3electionpb.Election/Campaign", cluster.campaignRequest, cluster.campaignResponse, [
      "/v3/election/campaign",
    ]),
    proclaim: method("/v3electionpb.Election/Proclaim", cluster.proclaimRequest, cluster.proclaimResponse, [
      "/v3/election/proclaim",
    ]),
    leader: method("/v3electionpb.Election/Leader", cluster.leaderRequest, cluster.leaderResponse, [
      "/v3/election/leader",
    ]),
    observe: method(
      "/v3electionpb.Election/Observe",
      cluster.leaderRequest,
      cluster.leaderResponse,
      ["/v3/election/observe"],
      "server",
    ),
    resign: method("/v3electionpb.Election/Resign", cluster.resignRequest, cluster.resignResponse, [
      "/v3/election/resign",
    ]),
  },
  health: {
    check: method("/grpc.health.v1.Health/Check", cluster.healthCheckRequest, cluster.healthCheckResponse),
    watch: method(
      "/grpc.health.v1.Health/Watch",
      cluster.healthCheckRequest,
      cluster.healthCheckResponse,
      [],
      "server",
    ),
  },
} as const;

/** `Auth` is one row a method, since an adapter answers them all as an etcd with authentication off. */
export const authService: readonly (MethodDescriptor<Record<string, unknown>, Record<string, unknown>> & {
  name: string;
})[] = authMethods.map(({ name, request, response }) => ({
  name,
  ...method(`/etcdserverpb.Auth/${name}`, request, response, [authJsonPath(name)]),
}));

function authJsonPath(name: string): string {
  const short: Record<string, string> = {
    AuthEnable: "enable",
    AuthDisable: "disable",
    AuthStatus: "status",
    Authenticate: "authenticate",
    UserChangePassword: "user/changepw",
    UserGrantRole: "user/grant",
    UserRevokeRole: "user/revoke",
    RoleGrantPermission: "role/grant",
    RoleRevokePermission: "role/revoke",
  };
  return `/v3/auth/${short[name] ?? name.replace(/^(User|Role)(.*)$/, (_, kind, verb) => `${kind}/${verb}`).toLowerCase()}`;
}

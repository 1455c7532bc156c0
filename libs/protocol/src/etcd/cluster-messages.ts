import { defineMessage, type MessageType } from "./codec.ts";
import { header, keyValue } from "./kv-messages.ts";
import {
  bool,
  bytes,
  counter,
  enumeration,
  int64,
  lease,
  message,
  repeated,
  string,
  uint32,
  uint64,
} from "./schema.ts";

/** Maintenance, Cluster, Lock, Election and Health messages. Source: etcd's rpc.proto, v3lock, v3election; gRPC health. */

export const alarmActions = { get: 0, activate: 1, deactivate: 2 } as const;
export const alarmTypes = { none: 0, noSpace: 1, corrupt: 2 } as const;
const alarmTypeNames = ["NONE", "NOSPACE", "CORRUPT"];

export const alarmRequest = defineMessage("etcdserverpb.AlarmRequest", {
  action: enumeration(1, ["GET", "ACTIVATE", "DEACTIVATE"]),
  memberId: uint64(2, "memberID"),
  alarm: enumeration(3, alarmTypeNames),
});
export type AlarmRequest = MessageType<typeof alarmRequest>;
export const alarmMember = defineMessage("etcdserverpb.AlarmMember", {
  memberId: uint64(1, "memberID"),
  alarm: enumeration(2, alarmTypeNames),
});
export type AlarmMember = MessageType<typeof alarmMember>;
export const alarmResponse = defineMessage("etcdserverpb.AlarmResponse", {
  header,
  alarms: repeated(message(2, () => alarmMember)),
});

export const statusRequest = defineMessage("etcdserverpb.StatusRequest", {});
export const downgradeInfo = defineMessage("etcdserverpb.DowngradeInfo", {
  enabled: bool(1),
  targetVersion: string(2, "targetVersion"),
});
export const statusResponse = defineMessage("etcdserverpb.StatusResponse", {
  header,
  version: string(2),
  dbSize: int64(3, "dbSize"),
  leader: uint64(4),
  raftIndex: counter(5, "raftIndex"),
  raftTerm: counter(6, "raftTerm"),
  raftAppliedIndex: counter(7, "raftAppliedIndex"),
  errors: repeated(string(8)),
  dbSizeInUse: int64(9, "dbSizeInUse"),
  isLearner: bool(10, "isLearner"),
  storageVersion: string(11, "storageVersion"),
  dbSizeQuota: int64(12, "dbSizeQuota"),
  downgradeInfo: message(13, () => downgradeInfo),
});
export type StatusResponse = MessageType<typeof statusResponse>;

export const defragmentRequest = defineMessage("etcdserverpb.DefragmentRequest", {});
export const defragmentResponse = defineMessage("etcdserverpb.DefragmentResponse", { header });
export const hashRequest = defineMessage("etcdserverpb.HashRequest", {});
export const hashResponse = defineMessage("etcdserverpb.HashResponse", { header, hash: uint32(2) });
export const hashKvRequest = defineMessage("etcdserverpb.HashKVRequest", { revision: int64(1) });
export const hashKvResponse = defineMessage("etcdserverpb.HashKVResponse", {
  header,
  hash: uint32(2),
  compactRevision: int64(3),
  hashRevision: int64(4),
});
export const snapshotRequest = defineMessage("etcdserverpb.SnapshotRequest", {});
export const snapshotResponse = defineMessage("etcdserverpb.SnapshotResponse", {
  header,
  remainingBytes: counter(2),
  blob: bytes(3),
  version: string(4),
});
export type SnapshotResponse = MessageType<typeof snapshotResponse>;
export const moveLeaderRequest = defineMessage("etcdserverpb.MoveLeaderRequest", { targetId: uint64(1, "targetID") });
export const moveLeaderResponse = defineMessage("etcdserverpb.MoveLeaderResponse", { header });
export const downgradeRequest = defineMessage("etcdserverpb.DowngradeRequest", {
  action: enumeration(1, ["VALIDATE", "ENABLE", "CANCEL"]),
  version: string(2),
});
export const downgradeResponse = defineMessage("etcdserverpb.DowngradeResponse", { header, version: string(2) });

export const member = defineMessage("etcdserverpb.Member", {
  id: uint64(1, "ID"),
  name: string(2),
  peerUrls: repeated(string(3, "peerURLs")),
  clientUrls: repeated(string(4, "clientURLs")),
  isLearner: bool(5, "isLearner"),
});
export type Member = MessageType<typeof member>;
const members = repeated(message(2, () => member));
export const memberListRequest = defineMessage("etcdserverpb.MemberListRequest", { linearizable: bool(1) });
export const memberListResponse = defineMessage("etcdserverpb.MemberListResponse", { header, members });
export type MemberListResponse = MessageType<typeof memberListResponse>;
export const memberAddRequest = defineMessage("etcdserverpb.MemberAddRequest", {
  peerUrls: repeated(string(1, "peerURLs")),
  isLearner: bool(2, "isLearner"),
});
export const memberAddResponse = defineMessage("etcdserverpb.MemberAddResponse", {
  header,
  member: message(2, () => member),
  members: repeated(message(3, () => member)),
});
export const memberRemoveRequest = defineMessage("etcdserverpb.MemberRemoveRequest", { id: uint64(1, "ID") });
export const memberRemoveResponse = defineMessage("etcdserverpb.MemberRemoveResponse", { header, members });
export const memberUpdateRequest = defineMessage("etcdserverpb.MemberUpdateRequest", {
  id: uint64(1, "ID"),
  peerUrls: repeated(string(2, "peerURLs")),
});
export const memberUpdateResponse = defineMessage("etcdserverpb.MemberUpdateResponse", { header, members });
export const memberPromoteRequest = defineMessage("etcdserverpb.MemberPromoteRequest", { id: uint64(1, "ID") });
export const memberPromoteResponse = defineMessage("etcdserverpb.MemberPromoteResponse", { header, members });

export const lockRequest = defineMessage("v3lockpb.LockRequest", { name: bytes(1), lease: lease(2) });
export const lockResponse = defineMessage("v3lockpb.LockResponse", { header, key: bytes(2) });
export const unlockRequest = defineMessage("v3lockpb.UnlockRequest", { key: bytes(1) });
export const unlockResponse = defineMessage("v3lockpb.UnlockResponse", { header });

export const leaderKey = defineMessage("v3electionpb.LeaderKey", {
  name: bytes(1),
  key: bytes(2),
  rev: int64(3),
  lease: lease(4),
});
export type LeaderKey = MessageType<typeof leaderKey>;
export const campaignRequest = defineMessage("v3electionpb.CampaignRequest", {
  name: bytes(1),
  lease: lease(2),
  value: bytes(3),
});
export const campaignResponse = defineMessage("v3electionpb.CampaignResponse", {
  header,
  leader: message(2, () => leaderKey),
});
export const proclaimRequest = defineMessage("v3electionpb.ProclaimRequest", {
  leader: message(1, () => leaderKey),
  value: bytes(2),
});
export const proclaimResponse = defineMessage("v3electionpb.ProclaimResponse", { header });
export const leaderRequest = defineMessage("v3electionpb.LeaderRequest", { name: bytes(1) });
export const leaderResponse = defineMessage("v3electionpb.LeaderResponse", { header, kv: message(2, () => keyValue) });
export const resignRequest = defineMessage("v3electionpb.ResignRequest", { leader: message(1, () => leaderKey) });
export const resignResponse = defineMessage("v3electionpb.ResignResponse", { header });

export const servingStatuses = { unknown: 0, serving: 1, notServing: 2, serviceUnknown: 3 } as const;
export const healthCheckRequest = defineMessage("grpc.health.v1.HealthCheckRequest", { service: string(1) });
export const healthCheckResponse = defineMessage("grpc.health.v1.HealthCheckResponse", {
  status: enumeration(1, ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"]),
});

import { defineMessage, type MessageType } from "./codec.ts";
import { event, header } from "./kv-messages.ts";
import { bool, bytes, enumeration, int64, lease, message, repeated, string } from "./schema.ts";

/** Watch and Lease messages. Source: etcd's rpc.proto. */

export const watchFilters = { noPut: 0, noDelete: 1 } as const;

export const watchCreateRequest = defineMessage("etcdserverpb.WatchCreateRequest", {
  key: bytes(1),
  rangeEnd: bytes(2),
  startRevision: int64(3),
  progressNotify: bool(4),
  filters: repeated(enumeration(5, ["NOPUT", "NODELETE"])),
  prevKv: bool(6),
  watchId: int64(7),
  fragment: bool(8),
});
export type WatchCreateRequest = MessageType<typeof watchCreateRequest>;

export const watchCancelRequest = defineMessage("etcdserverpb.WatchCancelRequest", { watchId: int64(1) });
export const watchProgressRequest = defineMessage("etcdserverpb.WatchProgressRequest", {});

export const watchRequest = defineMessage("etcdserverpb.WatchRequest", {
  createRequest: message(1, () => watchCreateRequest),
  cancelRequest: message(2, () => watchCancelRequest),
  progressRequest: message(3, () => watchProgressRequest),
});
export type WatchRequest = MessageType<typeof watchRequest>;

export const watchResponse = defineMessage("etcdserverpb.WatchResponse", {
  header,
  watchId: int64(2),
  created: bool(3),
  canceled: bool(4),
  compactRevision: int64(5),
  cancelReason: string(6),
  fragment: bool(7),
  events: repeated(message(11, () => event)),
});
export type WatchResponse = MessageType<typeof watchResponse>;

export const leaseGrantRequest = defineMessage("etcdserverpb.LeaseGrantRequest", {
  ttl: int64(1, "TTL"),
  id: lease(2, "ID"),
});
export type LeaseGrantRequest = MessageType<typeof leaseGrantRequest>;
export const leaseGrantResponse = defineMessage("etcdserverpb.LeaseGrantResponse", {
  header,
  id: lease(2, "ID"),
  ttl: int64(3, "TTL"),
  error: string(4),
});
export type LeaseGrantResponse = MessageType<typeof leaseGrantResponse>;

export const leaseRevokeRequest = defineMessage("etcdserverpb.LeaseRevokeRequest", { id: lease(1, "ID") });
export type LeaseRevokeRequest = MessageType<typeof leaseRevokeRequest>;
export const leaseRevokeResponse = defineMessage("etcdserverpb.LeaseRevokeResponse", { header });

export const leaseKeepAliveRequest = defineMessage("etcdserverpb.LeaseKeepAliveRequest", { id: lease(1, "ID") });
export type LeaseKeepAliveRequest = MessageType<typeof leaseKeepAliveRequest>;
export const leaseKeepAliveResponse = defineMessage("etcdserverpb.LeaseKeepAliveResponse", {
  header,
  id: lease(2, "ID"),
  ttl: int64(3, "TTL"),
});
export type LeaseKeepAliveResponse = MessageType<typeof leaseKeepAliveResponse>;

export const leaseTimeToLiveRequest = defineMessage("etcdserverpb.LeaseTimeToLiveRequest", {
  id: lease(1, "ID"),
  keys: bool(2),
});
export type LeaseTimeToLiveRequest = MessageType<typeof leaseTimeToLiveRequest>;
export const leaseTimeToLiveResponse = defineMessage("etcdserverpb.LeaseTimeToLiveResponse", {
  header,
  id: lease(2, "ID"),
  ttl: int64(3, "TTL"),
  grantedTtl: int64(4, "grantedTTL"),
  keys: repeated(bytes(5)),
});
export type LeaseTimeToLiveResponse = MessageType<typeof leaseTimeToLiveResponse>;

export const leaseLeasesRequest = defineMessage("etcdserverpb.LeaseLeasesRequest", {});
export const leaseStatus = defineMessage("etcdserverpb.LeaseStatus", { id: lease(1, "ID") });
export const leaseLeasesResponse = defineMessage("etcdserverpb.LeaseLeasesResponse", {
  header,
  leases: repeated(message(2, () => leaseStatus)),
});
export type LeaseLeasesResponse = MessageType<typeof leaseLeasesResponse>;

import { type Codec, defineMessage, type MessageType } from "./codec.ts";
import { bool, bytes, counter, enumeration, int64, lease, message, optional, repeated, uint64 } from "./schema.ts";

/** KV and mvcc messages. Source: etcd's rpc.proto and kv.proto; field numbers as released in 3.4 to 3.7. */

export const sortOrders = { none: 0, ascend: 1, descend: 2 } as const;
export const sortTargets = { key: 0, version: 1, create: 2, mod: 3, value: 4 } as const;
export const compareResults = { equal: 0, greater: 1, less: 2, notEqual: 3 } as const;
export const compareTargets = { version: 0, create: 1, mod: 2, value: 3, lease: 4 } as const;
export const eventTypes = { put: 0, delete: 1 } as const;

export const responseHeader = defineMessage("etcdserverpb.ResponseHeader", {
  clusterId: uint64(1),
  memberId: uint64(2),
  revision: int64(3),
  raftTerm: counter(4),
});
export type ResponseHeader = MessageType<typeof responseHeader>;
/** Field 1 of every response. */
export const header = message(1, () => responseHeader);

export const keyValue = defineMessage("mvccpb.KeyValue", {
  key: bytes(1),
  createRevision: int64(2),
  modRevision: int64(3),
  version: int64(4),
  value: bytes(5),
  lease: lease(6),
});
export type KeyValue = MessageType<typeof keyValue>;

export const event = defineMessage("mvccpb.Event", {
  type: enumeration(1, ["PUT", "DELETE"]),
  kv: message(2, () => keyValue),
  prevKv: message(3, () => keyValue),
});
export type Event = MessageType<typeof event>;

export const rangeRequest = defineMessage("etcdserverpb.RangeRequest", {
  key: bytes(1),
  rangeEnd: bytes(2),
  limit: int64(3),
  revision: int64(4),
  sortOrder: enumeration(5, ["NONE", "ASCEND", "DESCEND"]),
  sortTarget: enumeration(6, ["KEY", "VERSION", "CREATE", "MOD", "VALUE"]),
  serializable: bool(7),
  keysOnly: bool(8),
  countOnly: bool(9),
  minModRevision: int64(10),
  maxModRevision: int64(11),
  minCreateRevision: int64(12),
  maxCreateRevision: int64(13),
});
export type RangeRequest = MessageType<typeof rangeRequest>;

export const rangeResponse = defineMessage("etcdserverpb.RangeResponse", {
  header,
  kvs: repeated(message(2, () => keyValue)),
  more: bool(3),
  count: int64(4),
});
export type RangeResponse = MessageType<typeof rangeResponse>;

export const rangeStreamResponse = defineMessage("etcdserverpb.RangeStreamResponse", {
  rangeResponse: message(1, () => rangeResponse),
});

export const putRequest = defineMessage("etcdserverpb.PutRequest", {
  key: bytes(1),
  value: bytes(2),
  lease: lease(3),
  prevKv: bool(4),
  ignoreValue: bool(5),
  ignoreLease: bool(6),
});
export type PutRequest = MessageType<typeof putRequest>;

export const putResponse = defineMessage("etcdserverpb.PutResponse", { header, prevKv: message(2, () => keyValue) });
export type PutResponse = MessageType<typeof putResponse>;

export const deleteRangeRequest = defineMessage("etcdserverpb.DeleteRangeRequest", {
  key: bytes(1),
  rangeEnd: bytes(2),
  prevKv: bool(3),
});
export type DeleteRangeRequest = MessageType<typeof deleteRangeRequest>;

export const deleteRangeResponse = defineMessage("etcdserverpb.DeleteRangeResponse", {
  header,
  deleted: int64(2),
  prevKvs: repeated(message(3, () => keyValue)),
});
export type DeleteRangeResponse = MessageType<typeof deleteRangeResponse>;

export const compare = defineMessage("etcdserverpb.Compare", {
  result: enumeration(1, ["EQUAL", "GREATER", "LESS", "NOT_EQUAL"]),
  target: enumeration(2, ["VERSION", "CREATE", "MOD", "VALUE", "LEASE"]),
  key: bytes(3),
  version: optional(int64(4)),
  createRevision: optional(int64(5)),
  modRevision: optional(int64(6)),
  value: optional(bytes(7)),
  lease: optional(lease(8)),
  rangeEnd: bytes(64),
});
export type Compare = MessageType<typeof compare>;

/** Exactly one member is set; the last one on the wire wins in protobuf, clients set one. */
export interface RequestOp {
  requestRange?: RangeRequest | undefined;
  requestPut?: PutRequest | undefined;
  requestDeleteRange?: DeleteRangeRequest | undefined;
  requestTxn?: TxnRequest | undefined;
}

export interface TxnRequest {
  compare: Compare[];
  success: RequestOp[];
  failure: RequestOp[];
}

export interface ResponseOp {
  responseRange?: RangeResponse | undefined;
  responsePut?: PutResponse | undefined;
  responseDeleteRange?: DeleteRangeResponse | undefined;
  responseTxn?: TxnResponse | undefined;
}

export interface TxnResponse {
  header?: ResponseHeader | undefined;
  succeeded: boolean;
  responses: ResponseOp[];
}

export const requestOp: Codec<RequestOp> = defineMessage("etcdserverpb.RequestOp", {
  requestRange: message(1, () => rangeRequest),
  requestPut: message(2, () => putRequest),
  requestDeleteRange: message(3, () => deleteRangeRequest),
  requestTxn: message(4, (): Codec<TxnRequest> => txnRequest),
});

export const txnRequest: Codec<TxnRequest> = defineMessage("etcdserverpb.TxnRequest", {
  compare: repeated(message(1, () => compare)),
  success: repeated(message(2, () => requestOp)),
  failure: repeated(message(3, () => requestOp)),
});

export const responseOp: Codec<ResponseOp> = defineMessage("etcdserverpb.ResponseOp", {
  responseRange: message(1, () => rangeResponse),
  responsePut: message(2, () => putResponse),
  responseDeleteRange: message(3, () => deleteRangeResponse),
  responseTxn: message(4, (): Codec<TxnResponse> => txnResponse),
});

export const txnResponse: Codec<TxnResponse> = defineMessage("etcdserverpb.TxnResponse", {
  header,
  succeeded: bool(2),
  responses: repeated(message(3, () => responseOp)),
});

export const compactionRequest = defineMessage("etcdserverpb.CompactionRequest", {
  revision: int64(1),
  physical: bool(2),
});
export type CompactionRequest = MessageType<typeof compactionRequest>;
export const compactionResponse = defineMessage("etcdserverpb.CompactionResponse", { header });

/** gRPC status codes. Source: gRPC core concepts. */
export const grpcStatus = {
  ok: 0,
  canceled: 1,
  unknown: 2,
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  permissionDenied: 7,
  resourceExhausted: 8,
  failedPrecondition: 9,
  aborted: 10,
  outOfRange: 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  dataLoss: 15,
  unauthenticated: 16,
} as const;

export type GrpcStatus = (typeof grpcStatus)[keyof typeof grpcStatus];

/** A failed call: the status code and the text that clients match on. */
export class RpcError extends Error {
  readonly code: GrpcStatus;

  constructor(code: GrpcStatus, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = "RpcError";
    this.code = code;
  }
}

/** Makes an error fresh each time, so that its stack is that of its cause. */
function etcdError(code: keyof typeof grpcStatus, text: string): (cause?: unknown) => RpcError {
  return (cause) => new RpcError(grpcStatus[code], `etcdserver: ${text}`, cause === undefined ? undefined : { cause });
}

/** etcd's errors: clients compare code and exact text. Source: etcd api/v3rpc/rpctypes/error.go. */
export const etcdErrors = {
  emptyKey: etcdError("invalidArgument", "key is not provided"),
  keyNotFound: etcdError("invalidArgument", "key not found"),
  valueProvided: etcdError("invalidArgument", "value is provided"),
  leaseProvided: etcdError("invalidArgument", "lease is provided"),
  tooManyOps: etcdError("invalidArgument", "too many operations in txn request"),
  duplicateKey: etcdError("invalidArgument", "duplicate key given in txn request"),
  invalidSortOption: etcdError("invalidArgument", "invalid sort option"),
  requestTooLarge: etcdError("invalidArgument", "request is too large"),
  memberBadUrls: etcdError("invalidArgument", "given member URLs are invalid"),
  leaseNotFound: etcdError("notFound", "requested lease not found"),
  memberNotFound: etcdError("notFound", "member not found"),
  noSpace: etcdError("resourceExhausted", "mvcc: database space exceeded"),
  tooManyRequests: etcdError("resourceExhausted", "too many requests"),
  leaseExists: etcdError("failedPrecondition", "lease already exists"),
  memberExists: etcdError("failedPrecondition", "member ID already exist"),
  peerUrlExists: etcdError("failedPrecondition", "Peer URLs already exists"),
  authNotEnabled: etcdError("failedPrecondition", "authentication is not enabled"),
  rootUserNotExist: etcdError("failedPrecondition", "root user does not exist"),
  notLeader: etcdError("failedPrecondition", "not leader"),
  badLeaderTransferee: etcdError("failedPrecondition", "bad leader transferee"),
  notLearner: etcdError("failedPrecondition", "can only promote a learner member"),
  noDowngrade: etcdError("failedPrecondition", "no inflight downgrade job"),
  invalidDowngradeVersion: etcdError("invalidArgument", "invalid downgrade target version"),
  compacted: etcdError("outOfRange", "mvcc: required revision has been compacted"),
  futureRevision: etcdError("outOfRange", "mvcc: required revision is a future revision"),
  leaseTtlTooLarge: etcdError("outOfRange", "too large lease TTL"),
  noLeader: etcdError("unavailable", "no leader"),
  stopped: etcdError("unavailable", "server stopped"),
  timeout: etcdError("unavailable", "request timed out"),
  /** The datastore behind the adapter is away; clients retry on the code. */
  unavailable: etcdError("unavailable", "unhealthy cluster"),
  corrupt: etcdError("dataLoss", "corrupt cluster"),
} as const;

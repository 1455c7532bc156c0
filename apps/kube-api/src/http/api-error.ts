import { grpcStatus, RpcError } from "@keelson/protocol/etcd";
import { errorMessage } from "@keelson/service";
import { type FieldProblem, type Kind, qualifiedName } from "../kinds/kind.ts";

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: { reason: string; message: string; field?: string }[];
  retryAfterSeconds?: number;
}

/** An answer that is a Kubernetes Status. Source: apimachinery pkg/api/errors. */
export class ApiError extends Error {
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;

  constructor(code: number, reason: string, message: string, details?: StatusDetails, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ApiError";
    this.code = code;
    this.reason = reason;
    this.details = details;
  }

  toStatus(): Record<string, unknown> {
    return {
      kind: "Status",
      apiVersion: "v1",
      metadata: {},
      status: "Failure",
      message: this.message,
      reason: this.reason,
      ...(this.details === undefined ? {} : { details: this.details }),
      code: this.code,
    };
  }
}

/** What of a kind errors say. */
type KindName = Pick<Kind, "group" | "kind" | "plural">;

const about = (kind: KindName, name: string): StatusDetails => ({
  name,
  ...(kind.group === "" ? {} : { group: kind.group }),
  kind: kind.plural,
});

export const apiErrors = {
  notFound: (kind: Kind, name: string) =>
    new ApiError(404, "NotFound", `${qualifiedName(kind)} "${name}" not found`, about(kind, name)),
  noSuchPath: () => new ApiError(404, "NotFound", "the server could not find the requested resource", {}),
  alreadyExists: (kind: Kind, name: string) =>
    new ApiError(409, "AlreadyExists", `${qualifiedName(kind)} "${name}" already exists`, about(kind, name)),
  conflict: (kind: Kind, name: string, why: string) =>
    new ApiError(
      409,
      "Conflict",
      `Operation cannot be fulfilled on ${qualifiedName(kind)} "${name}": ${why}`,
      about(kind, name),
    ),
  modified: (kind: Kind, name: string) =>
    apiErrors.conflict(
      kind,
      name,
      "the object has been modified; please apply your changes to the latest version and try again",
    ),
  badRequest: (message: string) => new ApiError(400, "BadRequest", message),
  unauthorized: () => new ApiError(401, "Unauthorized", "Unauthorized"),
  forbidden: (message: string, details?: StatusDetails) => new ApiError(403, "Forbidden", message, details),
  methodNotAllowed: () =>
    new ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}),
  notAcceptable: (accepted: string) =>
    new ApiError(406, "NotAcceptable", `only the following media types are accepted: ${accepted}`),
  unsupportedMediaType: (type: string) =>
    new ApiError(415, "UnsupportedMediaType", `the body of the request was in an unknown format - ${type}`),
  tooLarge: () => new ApiError(413, "RequestEntityTooLarge", "Request entity too large: limit is 3145728"),
  expired: (message = "The resourceVersion for the provided list or watch is too old.") =>
    new ApiError(410, "Expired", message),
  tooLargeResourceVersion: (asked: number, current: number) =>
    new ApiError(504, "Timeout", `Too large resource version: ${asked}, current: ${current}`, {
      causes: [{ reason: "ResourceVersionTooLarge", message: "Too large resource version" }],
      retryAfterSeconds: 1,
    }),
  /** The query, or the options in the body, of a request ask for something that does not exist. */
  invalidOptions: (optionsKind: string, problems: readonly FieldProblem[]) =>
    apiErrors.invalid({ group: "meta.k8s.io", kind: optionsKind, plural: "" }, "", problems),
  invalid: (kind: KindName, name: string, problems: readonly FieldProblem[]): ApiError =>
    new ApiError(
      422,
      "Invalid",
      `${kind.kind}${kind.group === "" ? "" : `.${kind.group}`} "${name}" is invalid: ${problems
        .map((problem) => `${problem.field}: ${problem.message}`)
        .join(", ")}`,
      {
        ...about(kind, name),
        kind: kind.kind,
        causes: problems.map(({ reason, message, field }) => ({ reason, message, field })),
      },
    ),
  unavailable: (cause: unknown) =>
    new ApiError(
      503,
      "ServiceUnavailable",
      "the datastore does not answer; the request may be tried again",
      { retryAfterSeconds: 1 },
      cause,
    ),
  internal: (cause: unknown) =>
    new ApiError(500, "InternalError", `Internal error occurred: ${errorMessage(cause)}`, undefined, cause),
};

/** Whatever was thrown, as the answer it deserves. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (!(error instanceof RpcError)) return apiErrors.internal(error);
  switch (error.code) {
    case grpcStatus.unavailable:
    case grpcStatus.deadlineExceeded:
    case grpcStatus.resourceExhausted:
      return apiErrors.unavailable(error);
    case grpcStatus.outOfRange:
      return error.message.includes("compacted") ? apiErrors.expired() : apiErrors.internal(error);
    case grpcStatus.invalidArgument:
      return error.message.includes("too large") ? apiErrors.tooLarge() : apiErrors.badRequest(error.message);
    default:
      return apiErrors.internal(error);
  }
}

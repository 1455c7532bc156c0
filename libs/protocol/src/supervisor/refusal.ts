/**
 * A request that the supervisor API turns down: the protocol's own answer, as a value, so that it crosses a process
 * boundary unchanged. Failures that are nobody's fault but ours (a broken file, a lost connection) are thrown instead.
 */
export interface Refusal {
  status: 400 | 401 | 403 | 404 | 409 | 429 | 500 | 503;
  /** Stable code such as `node-password/mismatch`. */
  code: string;
  /** The text that goes to the client; never carries a secret. */
  message: string;
  /** What the person at the other end can do; goes to the log and to our own clients. */
  hint?: string;
  /** Seconds for a Retry-After header; always set with 429. */
  retryAfterSeconds?: number;
}

/** A value or the reason why there is none. */
export type Answer<T> = { ok: true; value: T } | { ok: false; refusal: Refusal };

export function accepted<T>(value: T): Answer<T> {
  return { ok: true, value };
}

export function refused<T = never>(
  status: Refusal["status"],
  code: string,
  message: string,
  extra: { hint?: string; retryAfterSeconds?: number } = {},
): Answer<T> {
  return { ok: false, refusal: { status, code, message, ...extra } };
}

const reasons: Readonly<Record<number, string>> = {
  400: "BadRequest",
  401: "Unauthorized",
  403: "Forbidden",
  404: "NotFound",
  405: "MethodNotAllowed",
  408: "Timeout",
  409: "Conflict",
  413: "RequestEntityTooLarge",
  429: "TooManyRequests",
  500: "InternalError",
  502: "InternalError",
  503: "ServiceUnavailable",
};

/** The Kubernetes Status object with which newer supervisors answer errors. */
export interface StatusBody {
  kind: "Status";
  apiVersion: "v1";
  metadata: Record<string, never>;
  status: "Failure";
  message: string;
  reason?: string;
  code: number;
}

export function statusBody(code: number, message: string): StatusBody {
  const reason = reasons[code];
  const head = { kind: "Status", apiVersion: "v1", metadata: {}, status: "Failure", message } as const;
  return reason === undefined ? { ...head, code } : { ...head, reason, code };
}

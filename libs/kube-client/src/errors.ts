import { KeelsonError } from "@keelson/service";

/** An answer of the API that is not a success, or no answer at all (status 0). */
export class KubeError extends KeelsonError {
  /** HTTP status; 0 when the server could not be reached. */
  override readonly status: number;
  /** Kubernetes reason, `NotFound`, `AlreadyExists`, `Conflict`, …; "" when there was none. */
  readonly reason: string;
  /** Seconds after which the server wants to be asked again, when it said so. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    status: number,
    reason: string,
    message: string,
    options: { cause?: unknown; retryAfterSeconds?: number } = {},
  ) {
    super(status === 0 ? "kube/unreachable" : `kube/${status}`, message, { cause: options.cause });
    this.name = "KubeError";
    this.status = status;
    this.reason = reason;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

export function isNotFound(error: unknown): boolean {
  return error instanceof KubeError && error.status === 404;
}

export function isAlreadyExists(error: unknown): boolean {
  return error instanceof KubeError && error.reason === "AlreadyExists";
}

export function isConflict(error: unknown): boolean {
  return error instanceof KubeError && error.status === 409 && error.reason !== "AlreadyExists";
}

/** The resource version of a watch is gone: list again. */
export function isExpired(error: unknown): boolean {
  return error instanceof KubeError && error.status === 410;
}

/**
 * The server has not come as far as the resource version that was asked for: it lags behind another one, or its
 * datastore was restored or replaced and counts anew, when only a new list helps. By its words, as client-go tells it.
 */
export function isTooLargeResourceVersion(error: unknown): boolean {
  return error instanceof KubeError && error.message.includes("Too large resource version");
}

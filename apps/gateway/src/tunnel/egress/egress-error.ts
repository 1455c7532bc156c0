import { KeelsonError } from "@keelson/service";

/** A target that cannot be reached, with the HTTP status that says so to the API server. */
export class EgressError extends KeelsonError {
  override readonly status: 403 | 502 | 503 | 504;

  constructor(status: 403 | 502 | 503 | 504, message: string, cause?: unknown) {
    super("egress/failed", message, cause === undefined ? {} : { cause });
    this.name = "EgressError";
    this.status = status;
  }
}

import { KubeError } from "@keelson/kube-client";

/**
 * Whether an error says that the Kubernetes API cannot answer now: it is not reached, busy or broken. Any other answer is an
 * answer, which asking again does not change.
 */
export function isApiAway(error: unknown): boolean {
  return error instanceof KubeError && (error.status === 0 || error.status === 429 || error.status >= 500);
}

import { addressOf, isDnsName, uniqueNames } from "./names.ts";

/** The names under which any server's Kubernetes API is reached from inside the cluster. */
export function kubernetesNames(clusterDomain: string): string[] {
  return ["kubernetes", "kubernetes.default", "kubernetes.default.svc", `kubernetes.default.svc.${clusterDomain}`];
}

export interface ListenerGuard {
  /** `--tls-san-security`: learn only addresses of known servers. */
  enabled: boolean;
  /** Names and addresses of control-plane and etcd nodes; undefined until the Node list is known. */
  serverNames: ReadonlySet<string> | undefined;
}

/** More learned names than this are refused, whoever asks: each one grows a certificate that everybody downloads. */
const maxLearnedNames = 64;

/**
 * Which of the names that were seen on connections go into the listener certificate, beside the configured ones. A
 * wildcard is never learned. With the guard on, only names of servers are, from the moment at which these are known
 * (K3s: until then whatever a client asks for, so that the first connections work).
 */
export function admitListenerNames(
  configured: readonly string[],
  seen: readonly string[],
  guard: ListenerGuard,
): string[] {
  const fixed = uniqueNames(configured);
  const held = new Set(fixed);
  const learned = uniqueNames(seen).filter(
    (name) =>
      !held.has(name) &&
      !name.startsWith("*") &&
      (addressOf(name) !== undefined || isDnsName(name)) &&
      (!guard.enabled || guard.serverNames === undefined || guard.serverNames.has(name)),
  );
  return [...fixed, ...learned.slice(0, maxLearnedNames)];
}

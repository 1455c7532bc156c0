import { Backoff, type Clock, errorMessage, type Logger, type Timer } from "@keelson/service";
import type { ClusterApi, RoleObject } from "./cluster-api.ts";

const group = "rbac.authorization.k8s.io";
const watched = ["get", "list", "watch"];

function user(name: string) {
  return { kind: "User", name, apiGroup: group };
}

function binding(name: string, role: string, userName: string): RoleObject {
  return {
    apiVersion: `${group}/v1`,
    kind: "ClusterRoleBinding",
    metadata: { name },
    roleRef: { apiGroup: group, kind: "ClusterRole", name: role },
    subjects: [user(userName)],
  };
}

/**
 * What the identities of a K3s cluster may do that Kubernetes has no rules for by itself: agents follow endpoints, pods and
 * network policies; kube-apiserver, by the name that older servers gave it, reaches into kubelets for logs and exec.
 * Source: reference/supervisor-protocol.md 1.3 and 5.2.
 */
export const agentRoles: readonly RoleObject[] = [
  {
    apiVersion: `${group}/v1`,
    kind: "ClusterRole",
    metadata: { name: "system:k3s-controller" },
    rules: [
      { apiGroups: [""], resources: ["nodes", "namespaces", "pods", "endpoints"], verbs: watched },
      { apiGroups: ["discovery.k8s.io"], resources: ["endpointslices"], verbs: watched },
      { apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: watched },
    ],
  },
  binding("system:k3s-controller", "system:k3s-controller", "system:k3s-controller"),
  binding("kube-apiserver-kubelet-admin", "system:kubelet-api-admin", "kube-apiserver"),
];

/** Puts {@link agentRoles} into the cluster, as soon as its API answers; again at each start, so that new rules arrive. */
export class AgentRoles {
  readonly #api: ClusterApi;
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #backoff = new Backoff({ initialMs: 500, maxMs: 15_000 });
  #timer: Timer | undefined;
  #stopped = false;

  constructor(api: ClusterApi, clock: Clock, log: Logger) {
    this.#api = api;
    this.#clock = clock;
    this.#log = log;
  }

  start(): void {
    void this.#establish();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #establish(): Promise<void> {
    try {
      for (const role of agentRoles) await this.#api.establishRole(role);
    } catch (error) {
      if (this.#stopped) return;
      // An API that is still coming up is no news; one that refuses is, each time.
      this.#log[this.#api.ready ? "warn" : "debug"](
        { reason: errorMessage(error) },
        "could not tell the API yet what agents may do: until then it refuses them",
      );
      this.#timer = this.#clock.setTimeout(() => void this.#establish(), this.#backoff.next());
    }
  }
}

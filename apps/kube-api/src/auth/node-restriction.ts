import { isDeepStrictEqual } from "node:util";
import { apiErrors } from "../http/api-error.ts";
import { type ResourceRequest, selectedName } from "../http/request-info.ts";
import type { KindCatalog } from "../kinds/catalog.ts";
import { type ApiObject, fieldAt, textAt } from "../kinds/kind.ts";
import { isMap } from "../patch/merge-patch.ts";
import type { ObjectStore } from "../storage/object-store.ts";
import { isForbiddenToNodes } from "./node-labels.ts";

/**
 * What a kubelet may touch beyond the kinds that its rules allow: only its own Node, Lease and CSINode, the pods bound to
 * it, and the secrets, config maps and service accounts that those pods mention.
 * Source: kubernetes plugin/pkg/auth/authorizer/node and plugin/pkg/admission/noderestriction.
 */
export class NodeRestriction {
  readonly #store: ObjectStore;
  readonly #catalog: KindCatalog;

  constructor(store: ObjectStore, catalog: KindCatalog) {
    this.#store = store;
    this.#catalog = catalog;
  }

  /** Throws 403 when the object that the URL names is not this node's business. */
  async check(node: string, info: ResourceRequest): Promise<void> {
    if (info.group !== "") return;
    const name = info.name ?? selectedName(info.query) ?? "";
    const isWrite = !["get", "list", "watch"].includes(info.verb);
    switch (info.resource) {
      case "pods":
        if (isWrite && name !== "") await this.#checkPod(node, info, name);
        return;
      case "secrets":
      case "configmaps":
        await this.#checkMentioned(node, info, name, (pod) => mentions(pod.spec, info.resource, name));
        return;
      case "serviceaccounts":
        await this.#checkMentioned(node, info, name, (pod) => textAt(pod, "spec.serviceAccountName") === name);
        return;
    }
  }

  /** Throws 403 when a node creates something that speaks for another. */
  checkCreate(node: string, info: ResourceRequest, object: ApiObject): void {
    const { name, labels } = object.metadata;
    switch (info.resource) {
      case "nodes":
        refuseLabels(node, info, "set the following labels", Object.keys(labels ?? {}));
        if (name !== node) throw refuse(node, info, `it may only create Node ${node}`);
        return;
      case "csinodes":
        if (name !== node) throw refuse(node, info, `it may only create CSINode ${node}`);
        return;
      case "leases":
        if (name === node && info.namespace === leaseNamespace) return;
        throw refuse(node, info, `it may only create Lease ${leaseNamespace}/${node}`);
      case "pods":
        if (object.metadata.annotations?.[mirrorAnnotation] === undefined)
          throw refuse(node, info, "it may only create mirror pods");
        if (textAt(object, "spec.nodeName") !== node) throw refuse(node, info, `spec.nodeName must be ${node}`);
        return;
    }
  }

  /** Throws 403 when a node changes of its own Node what decides which pods come to it, or who owns it. */
  checkUpdate(node: string, info: ResourceRequest, previous: ApiObject, next: ApiObject): void {
    if (info.resource !== "nodes") return;
    const before = previous.metadata.labels ?? {};
    const after = next.metadata.labels ?? {};
    const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
      (label) => before[label] !== after[label],
    );
    refuseLabels(node, info, "modify labels", changed);
    if (!isDeepStrictEqual(fieldAt(previous, "spec.taints") ?? [], fieldAt(next, "spec.taints") ?? [])) {
      throw notAllowed(node, info, "modify taints");
    }
    if (!isDeepStrictEqual(previous.metadata.ownerReferences ?? [], next.metadata.ownerReferences ?? [])) {
      throw notAllowed(node, info, "modify owner references");
    }
  }

  async #checkPod(node: string, info: ResourceRequest, name: string): Promise<void> {
    const kind = this.#catalog.require("pods");
    const pod = await this.#store.get({ kind, namespace: info.namespace, name });
    // What does not exist is answered by the verb itself.
    if (pod === undefined || textAt(pod, "spec.nodeName") === node) return;
    throw refuse(node, info, `pod ${name} is not bound to it`);
  }

  async #checkMentioned(
    node: string,
    info: ResourceRequest,
    name: string,
    isMentioned: (pod: ApiObject) => boolean,
  ): Promise<void> {
    if (info.namespace !== undefined && name !== "") {
      const { items } = await this.#store.list(this.#catalog.require("pods"), info.namespace);
      if (items.some((pod) => textAt(pod, "spec.nodeName") === node && isMentioned(pod))) return;
    }
    throw refuse(node, info, `no pod on it mentions ${name === "" ? "these objects" : name}`);
  }
}

const leaseNamespace = "kube-node-lease";
const mirrorAnnotation = "kubernetes.io/config.mirror";

/** Names of the fields of a pod that hold a reference: `secretName` or `name` below them names the object. */
const referenceFields: Readonly<Record<string, ReadonlySet<string>>> = {
  secrets: new Set(["secret", "secretRef", "secretKeyRef", "nodePublishSecretRef", "imagePullSecrets"]),
  configmaps: new Set(["configMap", "configMapRef", "configMapKeyRef"]),
};

function mentions(value: unknown, resource: string, name: string): boolean {
  if (Array.isArray(value)) return value.some((item) => mentions(item, resource, name));
  if (!isMap(value)) return false;
  return Object.entries(value).some(([field, inner]) => {
    const isReference = referenceFields[resource]!.has(field);
    return (isReference && names(inner, name)) || mentions(inner, resource, name);
  });
}

function names(reference: unknown, name: string): boolean {
  if (Array.isArray(reference)) return reference.some((item) => names(item, name));
  return isMap(reference) && (reference.secretName === name || reference.name === name);
}

function refuseLabels(node: string, info: ResourceRequest, what: string, labels: readonly string[]): void {
  const forbidden = labels.filter(isForbiddenToNodes).sort();
  if (forbidden.length > 0) throw notAllowed(node, info, `${what}: ${forbidden.join(", ")}`);
}

/** In the words of the admission plugin. */
function notAllowed(node: string, { resource, name = node }: ResourceRequest, what: string): Error {
  return apiErrors.forbidden(`${resource} "${name}" is forbidden: node "${node}" is not allowed to ${what}`, {
    name,
    kind: resource,
  });
}

function refuse(node: string, { resource, name = "", verb }: ResourceRequest, why: string): Error {
  return apiErrors.forbidden(
    `${resource}${name === "" ? "" : ` "${name}"`} is forbidden: node "${node}" cannot ${verb}: ${why}`,
    { name, kind: resource },
  );
}

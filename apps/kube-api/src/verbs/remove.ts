import { apiErrors } from "../http/api-error.ts";
import { readObject } from "../http/content.ts";
import type { ApiObject, Kind } from "../kinds/kind.ts";
import type { ObjectId } from "../storage/object-store.ts";
import { answer, answerList, answerSuccess } from "./answer.ts";
import { type ApiContext, type Call, idOf } from "./call.ts";
import { type DeleteOptions, finalizersFor, parseDeleteOptions } from "./delete-options.ts";
import { parseListOptions } from "./list-options.ts";
import { timestamp } from "./prepare.ts";
import { readList } from "./read.ts";

/** Outcome of a deletion: gone, or marked and waiting for finalizers or the kubelet. */
export interface Removal {
  object: ApiObject;
  isGone: boolean;
}

export async function remove(call: Call): Promise<void> {
  const { kind, context, format } = call;
  const options = await deleteOptions(call);
  const id = idOf(call);
  if (isNamespace(kind) && immortal.has(id.name)) {
    const details = { name: id.name, kind: kind.plural };
    throw apiErrors.forbidden(`namespaces "${id.name}" is forbidden: this namespace may not be deleted`, details);
  }
  const { object, isGone } = await removeObject(context, id, options);
  if (isGone && format.as === "object" && !returnsObject(kind)) {
    const { group, plural } = kind;
    const details = { name: id.name, ...(group === "" ? {} : { group }), kind: plural, uid: object.metadata.uid };
    return answerSuccess(call, 200, details);
  }
  answer(call, 200, object);
}

/** Source: kubernetes NamespaceLifecycle admission. */
const immortal = new Set(["default", "kube-system", "kube-public"]);

/** These kinds answer a deletion with the object itself. Source: kubernetes registry strategies. */
function returnsObject({ plural, group }: Kind): boolean {
  return group === "" && ["pods", "services", "serviceaccounts", "namespaces"].includes(plural);
}

export async function removeCollection(call: Call): Promise<void> {
  const { kind, context } = call;
  const options = await deleteOptions(call);
  const { items, revision } = await readList(call, parseListOptions(call.info.query, "list"));
  for (const item of items) {
    if (isNamespace(kind) && immortal.has(item.metadata.name)) continue;
    const id = { kind, namespace: item.metadata.namespace, name: item.metadata.name };
    await removeObject(context, id, options).catch(ignoreNotFound);
  }
  answerList(call, items, { resourceVersion: String(revision) });
}

function ignoreNotFound(error: unknown): void {
  if ((error as { code?: unknown }).code !== 404) throw error;
}

/**
 * Deletes an object, or marks it when something must happen first: finalizers, a kubelet that stops the pod, the
 * contents of a namespace.
 */
export async function removeObject(context: ApiContext, id: ObjectId, options: DeleteOptions): Promise<Removal> {
  const { store, clock } = context;
  const current = await store.get(id);
  if (current === undefined) throw apiErrors.notFound(id.kind, id.name);
  const graceSeconds = gracePeriod(id.kind, current, options);
  const finalizers = (object: ApiObject): string[] => finalizersFor(object, options.propagationPolicy);
  const mustWait = finalizers(current).length > 0 || graceSeconds > 0 || (isNamespace(id.kind) && hasContents(current));
  const writeOptions = { ...options.preconditions, dryRun: options.dryRun ?? false };
  if (!mustWait) return { object: await store.delete(id, writeOptions), isGone: true };
  const marked = await store.update(
    id,
    (object) => {
      const metadata = object.metadata as ApiObject["metadata"] & { deletionGracePeriodSeconds?: number };
      const at = timestamp(clock.now() + graceSeconds * 1_000);
      if (metadata.deletionTimestamp === undefined || at < metadata.deletionTimestamp) {
        metadata.deletionTimestamp = at;
        metadata.deletionGracePeriodSeconds = graceSeconds;
      }
      if (finalizers(object).length > 0) metadata.finalizers = finalizers(object);
      else delete metadata.finalizers;
      if (isNamespace(id.kind)) object.status = { ...(object.status as object), phase: "Terminating" };
      return object;
    },
    writeOptions,
  );
  return { object: marked, isGone: false };
}

/** Only a pod that a kubelet runs is given time. Source: kubernetes pkg/registry/core/pod/strategy.go. */
function gracePeriod(kind: Kind, object: ApiObject, { gracePeriodSeconds }: DeleteOptions): number {
  if (kind.plural !== "pods" || kind.group !== "") return 0;
  const spec = object.spec as { nodeName?: string; terminationGracePeriodSeconds?: number } | undefined;
  const phase = (object.status as { phase?: string } | undefined)?.phase;
  if (!spec?.nodeName || phase === "Failed" || phase === "Succeeded") return 0;
  return Math.max(0, gracePeriodSeconds ?? spec.terminationGracePeriodSeconds ?? 30);
}

function isNamespace(kind: Kind): boolean {
  return kind.plural === "namespaces" && kind.group === "";
}

function hasContents(namespace: ApiObject): boolean {
  const finalizers = (namespace.spec as { finalizers?: string[] } | undefined)?.finalizers;
  return (finalizers ?? []).length > 0;
}

async function deleteOptions({ request, info }: Call): Promise<DeleteOptions> {
  return parseDeleteOptions(info, await readObject(request));
}

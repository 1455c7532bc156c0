import { nodeOf } from "../auth/user.ts";
import { type ApiObject, fieldAt, type Kind } from "../kinds/kind.ts";
import type { ObjectId, Preconditions } from "../storage/object-store.ts";
import { type ApiContext, type Call, idOf } from "./call.ts";
import { isDryRun } from "./dry-run.ts";
import { prepareUpdate } from "./prepare.ts";
import { removeObject } from "./remove.ts";

/** Writes what `next` makes of the present object; ends a deletion whose last finalizer went away. */
export async function changeObject(
  call: Call,
  preconditions: Preconditions,
  next: (current: ApiObject) => ApiObject,
): Promise<ApiObject> {
  const { kind, context, info } = call;
  const id = idOf(call);
  const part = call.info.subresource === undefined ? "spec" : "status";
  const node = nodeOf(call.user);
  const prepare = (current: ApiObject): ApiObject => {
    const prepared = prepareUpdate(kind, current, next(current), part);
    if (node !== undefined) context.nodeRestriction.checkUpdate(node, info, current, prepared);
    return prepared;
  };
  const dryRun = isDryRun(info);
  const written = await context.store.update(id, prepare, { ...preconditions, dryRun });
  if (!dryRun) await endDeletion(context, id, written);
  return written;
}

/** Removes an object that is being deleted when nothing holds it any more: its last finalizer went with the last change. */
export async function endDeletion(context: ApiContext, id: ObjectId, written: ApiObject): Promise<void> {
  const isFinalized =
    written.metadata.deletionTimestamp !== undefined && (written.metadata.finalizers ?? []).length === 0;
  if (isFinalized && !waitsForOthers(id.kind, written)) await removeObject(context, id, {});
}

/** Namespaces are ended by their controller, pods by their kubelet unless they have no time left. */
function waitsForOthers(kind: Kind, object: ApiObject): boolean {
  if (kind.group !== "") return false;
  if (kind.plural === "pods") return fieldAt(object, "metadata.deletionGracePeriodSeconds") !== 0;
  return kind.plural === "namespaces";
}

import { apiErrors } from "../http/api-error.ts";
import { mediaType, readObject } from "../http/content.ts";
import { sendObject } from "../http/respond.ts";
import { type ApiObject, fieldAt } from "../kinds/kind.ts";
import { applyJsonPatch } from "../patch/json-patch.ts";
import { applyMergePatch, isMap } from "../patch/merge-patch.ts";
import { type Call, idOf } from "./call.ts";
import { isDryRun } from "./dry-run.ts";
import { prepareUpdate } from "./prepare.ts";

/** The `scale` subresource: an autoscaling/v1 Scale that reads and writes `spec.replicas`. */
export async function serveScale(call: Call): Promise<void> {
  const { context, info, kind, request, response, format } = call;
  const id = idOf(call);
  let written: ApiObject | undefined;
  if (info.verb === "get") {
    written = await context.store.get(id);
    if (written === undefined) throw apiErrors.notFound(kind, id.name);
  } else {
    if (info.verb !== "update" && info.verb !== "patch") throw apiErrors.methodNotAllowed();
    const body = await readObject(request);
    const type = mediaType(request.headers["content-type"] ?? "");
    const scaled = (current: ApiObject): ApiObject => {
      const replicas = replicasOf(info.verb === "update" ? body : patched(scaleOf(current), body, type));
      return prepareUpdate(kind, current, { ...current, spec: { ...(current.spec as object), replicas } }, "spec");
    };
    written = await context.store.update(id, scaled, { dryRun: isDryRun(info) });
  }
  sendObject(response, 200, scaleOf(written), format.encoding);
}

function patched(scale: object, body: unknown, type: string): unknown {
  return type === "application/json-patch+json" ? applyJsonPatch(scale, body) : applyMergePatch(scale, body);
}

function replicasOf(scale: unknown): number {
  const replicas = fieldAt(scale, "spec.replicas") ?? 0;
  if (typeof replicas === "number" && Number.isInteger(replicas) && replicas >= 0) return replicas;
  throw apiErrors.badRequest("spec.replicas must be an integer of at least 0");
}

function scaleOf(object: ApiObject): Record<string, unknown> {
  const { name, namespace, uid, resourceVersion, creationTimestamp } = object.metadata;
  return {
    kind: "Scale",
    apiVersion: "autoscaling/v1",
    metadata: { name, namespace, uid, resourceVersion, creationTimestamp },
    spec: { replicas: fieldAt(object, "spec.replicas") ?? 1 },
    status: {
      replicas: fieldAt(object, "status.replicas") ?? 0,
      selector: selectorText(fieldAt(object, "spec.selector")),
    },
  };
}

/** A selector as the text that list requests take. */
function selectorText(selector: unknown): string {
  if (!isMap(selector)) return "";
  const labels = isMap(selector.matchLabels) ? selector.matchLabels : selector.matchExpressions ? {} : selector;
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(",");
}

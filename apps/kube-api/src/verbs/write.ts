import { apiErrors } from "../http/api-error.ts";
import { mediaType, readObject } from "../http/content.ts";
import type { ApiObject } from "../kinds/kind.ts";
import { inVersion } from "../kinds/versions.ts";
import { applyJsonPatch } from "../patch/json-patch.ts";
import { applyMergePatch } from "../patch/merge-patch.ts";
import { applyStrategicMergePatch } from "../patch/strategic-merge-patch.ts";
import type { ObjectId, Preconditions } from "../storage/object-store.ts";
import { answer } from "./answer.ts";
import { type Call, idOf, isDryRun } from "./call.ts";
import { parseObject, prepareCreate, prepareUpdate } from "./prepare.ts";
import { removeObject } from "./remove.ts";

type Part = "spec" | "status";

/** Which half of the object a path writes; other subresources have handlers of their own. */
function partOf({ info }: Call): Part {
  return info.subresource === undefined ? "spec" : "status";
}

export async function create(call: Call): Promise<void> {
  const { info, kind } = call;
  if (info.name !== undefined) throw apiErrors.methodNotAllowed();
  const parsed = parseObject(await readObject(call.request), kind, info.version, info.namespace);
  answer(call, 201, await createObject(call, parsed));
}

/** Stores a new object; also what an apply of something absent does. */
export async function createObject(call: Call, parsed: ApiObject): Promise<ApiObject> {
  const { info, kind, context } = call;
  const object = prepareCreate(kind, parsed, context.clock.now());
  const id: ObjectId = { kind, namespace: kind.namespaced ? info.namespace : undefined, name: object.metadata.name };
  if (kind.namespaced) await requireNamespace(call, id);
  if (kind.plural === "services" && kind.group === "") await context.clusterIps.assign(object);
  return isDryRun(info) ? object : context.store.create(id, object);
}

async function requireNamespace({ context, kind }: Call, id: ObjectId): Promise<void> {
  const name = id.namespace ?? "";
  const namespaces = context.catalog.require("namespaces");
  const namespace = await context.store.get({ kind: namespaces, namespace: undefined, name });
  if (namespace === undefined) throw apiErrors.notFound(namespaces, name);
  if (namespace.metadata.deletionTimestamp === undefined) return;
  throw apiErrors.forbidden(
    `${kind.plural} "${id.name}" is forbidden: unable to create new content in namespace ${name} because it is being terminated`,
    {
      name: id.name,
      kind: kind.plural,
      causes: [
        {
          reason: "NamespaceTerminating",
          message: `namespace ${name} is being terminated`,
          field: "metadata.namespace",
        },
      ],
    },
  );
}

export async function update(call: Call): Promise<void> {
  const { info, kind } = call;
  const parsed = parseObject(await readObject(call.request), kind, info.version, info.namespace);
  if (parsed.metadata.name !== info.name) {
    throw apiErrors.badRequest("the name of the object does not match the name on the URL");
  }
  const { uid, resourceVersion } = parsed.metadata;
  const preconditions = {
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
  answer(call, 200, await change(call, preconditions, () => parsed));
}

/** Writes what `next` makes of the present object; ends a deletion whose last finalizer went away. */
async function change(
  call: Call,
  preconditions: Preconditions,
  next: (current: ApiObject) => ApiObject,
): Promise<ApiObject> {
  const { kind, context, info } = call;
  const id = idOf(call);
  const part = partOf(call);
  if (isDryRun(info)) {
    const current = await context.store.get(id);
    if (current === undefined) throw apiErrors.notFound(kind, id.name);
    return prepareUpdate(kind, current, next(current), part);
  }
  const written = await context.store.update(
    id,
    (current) => prepareUpdate(kind, current, next(current), part),
    preconditions,
  );
  const isFinalized =
    written.metadata.deletionTimestamp !== undefined && (written.metadata.finalizers ?? []).length === 0;
  if (isFinalized && kind.plural !== "namespaces" && kind.plural !== "pods") await removeObject(context, id, {});
  return written;
}

export async function patch(call: Call): Promise<void> {
  const { info, kind, request } = call;
  const type = mediaType(request.headers["content-type"] ?? "");
  const body = await readObject(request);
  if (type === "application/apply-patch+yaml") return apply(call, body);
  const transform = patchers[type];
  if (transform === undefined) throw apiErrors.unsupportedMediaType(type);
  const expected = (body as { metadata?: { resourceVersion?: string } } | undefined)?.metadata?.resourceVersion;
  const preconditions = typeof expected === "string" ? { resourceVersion: expected } : {};
  const written = await change(call, preconditions, (current) => {
    const patched = transform(inVersion(current, kind, info.version), body, kind.mergeKeys ?? {});
    return parseObject(patched, kind, info.version, info.namespace);
  });
  answer(call, 200, written);
}

const patchers: Record<
  string,
  (current: ApiObject, patch: unknown, mergeKeys: Readonly<Record<string, string>>) => unknown
> = {
  "application/json-patch+json": applyJsonPatch,
  "application/merge-patch+json": applyMergePatch,
  "application/strategic-merge-patch+json": applyStrategicMergePatch,
};

/**
 * Server-side apply: creates the object, or merges what is applied into it. Ownership of single fields is not tracked,
 * so a field that an applier stops naming stays until somebody removes it.
 */
async function apply(call: Call, body: unknown): Promise<void> {
  const { info, kind, context } = call;
  if (info.query.get("fieldManager") === null)
    throw apiErrors.badRequest(
      "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch",
    );
  const applied = parseObject(body, kind, info.version, info.namespace);
  if ((applied.metadata.name ?? info.name) !== info.name) {
    throw apiErrors.badRequest("the name of the applied object does not match the name on the URL");
  }
  const named = { ...applied, metadata: { ...applied.metadata, name: info.name ?? "" } };
  if ((await context.store.get(idOf(call))) === undefined && info.subresource === undefined) {
    return answer(call, 201, await createObject(call, named));
  }
  const written = await change(call, {}, (current) =>
    parseObject(
      applyStrategicMergePatch(inVersion(current, kind, info.version), { ...(body as object) }, kind.mergeKeys ?? {}),
      kind,
      info.version,
      info.namespace,
    ),
  );
  answer(call, 200, written);
}

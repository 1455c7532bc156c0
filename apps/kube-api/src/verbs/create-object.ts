import { nodeOf } from "../auth/user.ts";
import { apiErrors } from "../http/api-error.ts";
import type { ApiObject } from "../kinds/kind.ts";
import type { ObjectId } from "../storage/object-store.ts";
import type { Call } from "./call.ts";
import { isDryRun } from "./dry-run.ts";
import { prepareCreate } from "./prepare.ts";

/** Stores a new object; also what an apply of something absent does. */
export async function createObject(call: Call, parsed: ApiObject): Promise<ApiObject> {
  const { info, kind, context } = call;
  const dryRun = isDryRun(info);
  const node = nodeOf(call.user);
  if (node !== undefined) context.nodeRestriction.checkCreate(node, info, parsed);
  kind.setRequester?.(parsed, call.user);
  const object = prepareCreate(kind, parsed, context.clock.now());
  const id: ObjectId = { kind, namespace: kind.namespaced ? info.namespace : undefined, name: object.metadata.name };
  if (kind.namespaced) await requireNamespace(call, id);
  if (kind.plural === "services" && kind.group === "") await context.clusterIps.assign(object);
  return context.store.create(id, object, { dryRun });
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

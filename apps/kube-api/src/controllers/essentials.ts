import { errorMessage, type Logger } from "@keelson/service";
import { wellKnownRoles } from "../auth/well-known-roles.ts";
import { ApiError } from "../http/api-error.ts";
import type { ApiObject } from "../kinds/kind.ts";
import type { ApiContext } from "../verbs/call.ts";
import { prepareCreate } from "../verbs/prepare.ts";

const namespaces = ["default", "kube-system", "kube-public", "kube-node-lease"];

/** The part of the context that reading and writing objects takes. */
export type StoreContext = Pick<ApiContext, "catalog" | "store" | "clock">;

/** Makes the namespaces and roles every cluster has. Objects that exist stay as they are. */
export async function createEssentials(context: ApiContext): Promise<void> {
  await Promise.all([
    ...namespaces.map((name) => createIfMissing(context, "namespaces", undefined, bare("v1", "Namespace", name))),
    ...wellKnownRoles().map((role) =>
      createIfMissing(context, "clusterroles", undefined, role, "rbac.authorization.k8s.io"),
    ),
  ]);
}

/** The default service account of a namespace, which pods name when they name none. */
export async function createDefaultServiceAccount(context: ApiContext, namespace: string): Promise<void> {
  const account = bare("v1", "ServiceAccount", "default");
  account.metadata.namespace = namespace;
  await createIfMissing(context, "serviceaccounts", namespace, account);
}

export async function createIfMissing(
  context: StoreContext,
  plural: string,
  namespace: string | undefined,
  object: ApiObject,
  group = "",
): Promise<void> {
  const kind = context.catalog.require(plural, group);
  try {
    const prepared = prepareCreate(kind, object, context.clock.now());
    await context.store.create({ kind, namespace, name: object.metadata.name }, prepared);
  } catch (error) {
    if (!(error instanceof ApiError && error.reason === "AlreadyExists")) throw error;
  }
}

export function bare(apiVersion: string, kind: string, name: string): ApiObject {
  return { apiVersion, kind, metadata: { name } };
}

/** Runs a controller's step; a failure is logged once here and the step comes round again. */
export async function attempt(log: Logger, what: string, step: () => Promise<unknown>): Promise<boolean> {
  try {
    await step();
    return true;
  } catch (error) {
    log.debug({ controller: what, error: errorMessage(error) }, "controller step failed");
    return false;
  }
}

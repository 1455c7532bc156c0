import { apiErrors } from "../http/api-error.ts";
import type { ResourceRequest } from "../http/request-info.ts";
import type { ApiObject } from "../kinds/kind.ts";
import { isMap } from "../patch/merge-patch.ts";
import type { Preconditions } from "../storage/object-store.ts";
import { isDryRun } from "./dry-run.ts";

export type PropagationPolicy = "Foreground" | "Background" | "Orphan";

export interface DeleteOptions {
  gracePeriodSeconds?: number;
  /** What becomes of the object's dependents. Absent: what an earlier deletion of the object asked for, or Background. */
  propagationPolicy?: PropagationPolicy;
  preconditions?: Preconditions;
  dryRun?: boolean;
}

/** The finalizer by which an object waits for the garbage collector. */
export const cascadeFinalizers = { Foreground: "foregroundDeletion", Orphan: "orphan" } as const;

const propagationPolicies: readonly string[] = ["Foreground", "Background", "Orphan"];

/** The options of a deletion, from its body and its query, which wins. Throws 400 or 422 on what cannot be meant. */
export function parseDeleteOptions(info: ResourceRequest, body: unknown): DeleteOptions {
  if (body !== undefined && body !== null && !isMap(body))
    throw apiErrors.badRequest("DeleteOptions must be an object");
  const { gracePeriodSeconds, propagationPolicy, orphanDependents, preconditions } = body ?? {};
  const grace = info.query.get("gracePeriodSeconds") ?? gracePeriodSeconds ?? undefined;
  const isOrphaning = orphanDependents === true || info.query.get("orphanDependents") === "true";
  const policy = info.query.get("propagationPolicy") ?? propagationPolicy ?? (isOrphaning ? "Orphan" : undefined);
  if (grace !== undefined && !/^-?\d+$/.test(String(grace)))
    throw apiErrors.badRequest(`gracePeriodSeconds must be an integer, not ${JSON.stringify(grace)}`);
  if (policy !== undefined && !propagationPolicies.includes(String(policy)))
    throw apiErrors.invalidOptions("DeleteOptions", [
      {
        field: "propagationPolicy",
        reason: "FieldValueInvalid",
        message: `Invalid value: ${JSON.stringify(policy)}: DeletionPropagation need to be one of "Foreground", "Background", "Orphan" or nil`,
      },
    ]);
  return {
    dryRun: isDryRun(info, body),
    ...(grace === undefined ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(policy === undefined ? {} : { propagationPolicy: policy as PropagationPolicy }),
    ...(isMap(preconditions) ? { preconditions: preconditionsOf(preconditions) } : {}),
  };
}

function preconditionsOf({ uid, resourceVersion }: Record<string, unknown>): Preconditions {
  return {
    ...(typeof uid === "string" ? { uid } : {}),
    ...(typeof resourceVersion === "string" ? { resourceVersion } : {}),
  };
}

/** An object's finalizers when it is deleted with a policy, which replaces that of an earlier deletion. */
export function finalizersFor({ metadata }: ApiObject, policy: PropagationPolicy | undefined): string[] {
  // Stored by an earlier release it may be no list, and would hold the object for ever.
  const present = Array.isArray(metadata.finalizers) ? metadata.finalizers : [];
  if (policy === undefined) return present;
  const cascades: readonly string[] = Object.values(cascadeFinalizers);
  const others = present.filter((finalizer) => !cascades.includes(finalizer));
  return policy === "Background" ? others : [...others, cascadeFinalizers[policy]];
}

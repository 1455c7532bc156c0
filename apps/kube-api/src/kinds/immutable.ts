import { isDeepStrictEqual } from "node:util";
import { type ApiObject, type FieldProblem, fieldAt, listAt } from "./kind.ts";

/** Fields that an update may not change. Source: kubernetes pkg/apis/{core,apps,batch,rbac}/validation. */

type Validate = (object: ApiObject, previous: ApiObject | undefined) => FieldProblem[];

/** The fields at these paths stay as they were created. */
export function immutable(paths: readonly string[], why = "field is immutable"): Validate {
  return (object, previous) => {
    if (previous === undefined) return [];
    return paths.flatMap((field): FieldProblem[] => {
      const value = fieldAt(object, field);
      if (isDeepStrictEqual(value, fieldAt(previous, field))) return [];
      return [
        { field, reason: "FieldValueInvalid", message: `Invalid value: ${JSON.stringify(value ?? null)}: ${why}` },
      ];
    });
  };
}

const statefulSetMayChange = [
  "replicas",
  "ordinals",
  "template",
  "updateStrategy",
  "revisionHistoryLimit",
  "persistentVolumeClaimRetentionPolicy",
  "minReadySeconds",
];

/** What a StatefulSet has made cannot be made otherwise afterwards. */
export function validateStatefulSet(set: ApiObject, previous: ApiObject | undefined): FieldProblem[] {
  if (previous === undefined || isDeepStrictEqual(withoutChanges(set), withoutChanges(previous))) return [];
  const allowed = statefulSetMayChange.map((field) => `'${field}'`);
  const message = `Forbidden: updates to statefulset spec for fields other than ${allowed.slice(0, -1).join(", ")} and ${allowed.at(-1)} are forbidden`;
  return [{ field: "spec", reason: "FieldValueForbidden", message }];
}

function withoutChanges(set: ApiObject): unknown {
  const entries = Object.entries((set.spec as object | undefined) ?? {});
  return Object.fromEntries(entries.filter(([field]) => !statefulSetMayChange.includes(field)));
}

const podMayChange =
  "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/** A pod that runs is not made anew: only images, more tolerations and deadlines may change. */
export function validatePodUpdate(pod: ApiObject, previous: ApiObject): FieldProblem[] {
  const problems: FieldProblem[] = [];
  if (!isDeepStrictEqual(fixedPart(pod, previous), fixedPart(previous, previous)))
    problems.push({ field: "spec", reason: "FieldValueForbidden", message: podMayChange });
  const tolerations = listAt(pod, "spec.tolerations");
  const isLost = (old: unknown): boolean => !tolerations.some((now) => isSameToleration(now, old));
  if (listAt(previous, "spec.tolerations").some(isLost))
    problems.push({
      field: "spec.tolerations",
      reason: "FieldValueForbidden",
      message: "Forbidden: existing toleration can not be modified except its tolerationSeconds",
    });
  return problems;
}

/** The specification without what may change. While gates hold a pod back they may be lifted, and its place be chosen. */
function fixedPart(pod: ApiObject, previous: ApiObject): Record<string, unknown> {
  const spec = { ...(pod.spec as Record<string, unknown> | undefined) };
  const isGated = listAt(previous, "spec.schedulingGates").length > 0;
  const mayChange = ["activeDeadlineSeconds", "tolerations"];
  if (isGated) mayChange.push("schedulingGates", "nodeSelector", "affinity");
  if (Number(fieldAt(previous, "spec.terminationGracePeriodSeconds")) < 0 && spec.terminationGracePeriodSeconds === 1)
    mayChange.push("terminationGracePeriodSeconds");
  for (const field of mayChange) delete spec[field];
  for (const field of ["containers", "initContainers"])
    spec[field] = listAt(pod, `spec.${field}`).map(({ image: _, ...container }) => container);
  return spec;
}

function isSameToleration(a: unknown, b: unknown): boolean {
  const strip = ({ tolerationSeconds: _, ...rest }: Record<string, unknown>): unknown => rest;
  return isDeepStrictEqual(strip(a as Record<string, unknown>), strip(b as Record<string, unknown>));
}

import { randomUUID } from "node:crypto";
import { apiErrors } from "../http/api-error.ts";
import { type ApiObject, type FieldProblem, type Kind, textAt } from "../kinds/kind.ts";

const dnsSubdomain = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
/** RBAC names are paths segments: anything but "/", "%", "." and "..". */
const pathSegment = /^(?!\.{1,2}$)[^/%]+$/;
const labelValue = /^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$/;
const labelKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
/** Letters without vowels and look-alikes, so that no word comes out. Source: apimachinery util/rand. */
const suffixAlphabet = "bcdfghjklmnpqrstvwxz2456789";

/** Makes a new object ready to be stored: name, uid, times, defaults; throws 422 when it is invalid. */
export function prepareCreate(kind: Kind, object: ApiObject, nowMs: number): ApiObject {
  const { generateName } = object.metadata;
  const name = object.metadata.name || (generateName ? generateName.slice(0, 248) + randomSuffix() : "");
  if (name === "")
    throw apiErrors.invalid(kind, "", [
      {
        field: "metadata.name",
        reason: "FieldValueRequired",
        message: "Required value: name or generateName is required",
      },
    ]);
  const {
    resourceVersion,
    deletionTimestamp: _,
    deletionGracePeriodSeconds: __,
    ...metadata
  } = object.metadata as ApiObject["metadata"] & { deletionGracePeriodSeconds?: number };
  if (resourceVersion !== undefined && resourceVersion !== "" && resourceVersion !== "0") {
    throw apiErrors.badRequest("resourceVersion should not be set on objects to be created");
  }
  const { status, ...rest } = object;
  const dropsStatus = hasStatusPart(kind) && !kind.createsStatus;
  const created: ApiObject = {
    ...rest,
    ...(status === undefined || dropsStatus ? {} : { status }),
    metadata: {
      ...metadata,
      name,
      uid: randomUUID(),
      creationTimestamp: timestamp(nowMs),
      ...(kind.hasGeneration ? { generation: 1 } : {}),
    },
  } as ApiObject;
  kind.applyDefaults?.(created);
  validate(kind, created, undefined);
  return created;
}

/** Joins an update with what it may not change, and counts spec changes. `part` says which half is written. */
export function prepareUpdate(kind: Kind, previous: ApiObject, update: ApiObject, part: "spec" | "status"): ApiObject {
  let next: ApiObject;
  if (part === "status") {
    next = { ...previous, status: update.status };
    // A status writer may also set labels and annotations of its object's metadata, as in kube-apiserver.
    next.metadata = { ...previous.metadata, ...pick(update.metadata, ["labels", "annotations"]) };
  } else {
    next = hasStatusPart(kind) ? { ...update, status: previous.status } : { ...update };
    if (next.status === undefined) delete next.status;
  }
  const kept = pick(previous.metadata, [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
  ]);
  // Bodies of clients come without managedFields; only an apply sets them.
  const managed = pick({ ...previous.metadata, ...pick(update.metadata, ["managedFields"]) }, ["managedFields"]);
  next.metadata = { ...next.metadata, name: previous.metadata.name, ...kept, ...managed };
  for (const field of ["deletionTimestamp", "deletionGracePeriodSeconds"] as const) {
    if (!(field in kept)) delete (next.metadata as unknown as Record<string, unknown>)[field];
  }
  next.apiVersion = previous.apiVersion;
  next.kind = previous.kind;
  kind.restore?.(next, previous);
  if (part === "spec") {
    kind.applyDefaults?.(next);
    if (kind.hasGeneration && JSON.stringify(next.spec) !== JSON.stringify(previous.spec)) {
      next.metadata.generation = (previous.metadata.generation ?? 1) + 1;
    }
  }
  refuseOtherUid(kind, previous, update);
  validate(kind, next, previous);
  return next;
}

/** An update of an object that has gone meanwhile must not become one of its successor. */
function refuseOtherUid(kind: Kind, previous: ApiObject, { metadata: { uid = "" } }: ApiObject): void {
  if (uid === "" || uid === previous.metadata.uid) return;
  const message = `Invalid value: ${JSON.stringify(uid)}: field is immutable`;
  throw apiErrors.invalid(kind, previous.metadata.name, [
    { field: "metadata.uid", reason: "FieldValueInvalid", message },
  ]);
}

/** Whether the status is written apart from the rest. */
function hasStatusPart({ subresources }: Kind): boolean {
  return subresources?.includes("status") ?? false;
}

export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}

function pick(source: object, keys: readonly string[]): Record<string, unknown> {
  return Object.fromEntries(Object.entries(source).filter(([key, value]) => keys.includes(key) && value !== undefined));
}

function randomSuffix(): string {
  return Array.from(
    crypto.getRandomValues(new Uint8Array(5)),
    (byte) => suffixAlphabet[byte % suffixAlphabet.length],
  ).join("");
}

function validate(kind: Kind, object: ApiObject, previous: ApiObject | undefined): void {
  const problems = [...metadataProblems(kind, object), ...(kind.validate?.(object, previous) ?? [])];
  if (problems.length > 0) throw apiErrors.invalid(kind, object.metadata.name, problems);
}

function metadataProblems(kind: Kind, { metadata }: ApiObject): FieldProblem[] {
  const problems: FieldProblem[] = [];
  const isPathName = kind.group === "rbac.authorization.k8s.io" || kind.plural === "events";
  const isName = isPathName ? pathSegment.test(metadata.name) : dnsSubdomain.test(metadata.name);
  if (!isName || metadata.name.length > 253) {
    problems.push({
      field: "metadata.name",
      reason: "FieldValueInvalid",
      message: `Invalid value: ${JSON.stringify(metadata.name)}: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character`,
    });
  }
  for (const [key, value] of Object.entries(metadata.labels ?? {})) {
    if (labelKey.test(key) && typeof value === "string" && value.length <= 63 && labelValue.test(value)) continue;
    problems.push({
      field: "metadata.labels",
      reason: "FieldValueInvalid",
      message: `Invalid value: ${JSON.stringify(`${key}=${value}`)}: a valid label has an alphanumeric key and value with '-', '_' or '.', of at most 63 characters`,
    });
  }
  for (const [key, value] of Object.entries(metadata.annotations ?? {})) {
    if (typeof value === "string") continue;
    problems.push({
      field: `metadata.annotations[${key}]`,
      reason: "FieldValueTypeInvalid",
      message: "must be a string",
    });
  }
  const owners: unknown = metadata.ownerReferences ?? [];
  for (const [index, owner] of (Array.isArray(owners) ? owners : []).entries()) {
    for (const field of ["apiVersion", "kind", "name", "uid"]) {
      if (textAt(owner, field) !== "") continue;
      const shown = field === "apiVersion" ? "version" : field;
      problems.push({
        field: `metadata.ownerReferences[${index}].${field}`,
        reason: "FieldValueInvalid",
        message: `Invalid value: "": ${shown} must not be empty`,
      });
    }
  }
  return problems;
}

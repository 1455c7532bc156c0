import type { User } from "../auth/user.ts";
import { validatePodUpdate } from "./immutable.ts";
import { type ApiObject, type FieldProblem, fieldAt, listAt, textAt } from "./kind.ts";

/** Defaulting and validation of single kinds: only what clients rely on. Source: kubernetes pkg/apis/core. */

const maxSecretBytes = 1_048_576;
const dataKeyPattern = /^[-._a-zA-Z0-9]{1,253}$/;

export function defaultNamespace(namespace: ApiObject): void {
  const spec = section(namespace, "spec");
  spec.finalizers ??= ["kubernetes"];
  section(namespace, "status").phase ??= "Active";
  namespace.metadata.labels = { ...namespace.metadata.labels, "kubernetes.io/metadata.name": namespace.metadata.name };
}

/** `stringData` is written into `data` and never stored. */
export function defaultSecret(secret: ApiObject): void {
  secret.type ??= "Opaque";
  const stringData = secret.stringData as Record<string, string> | undefined;
  if (stringData === undefined) return;
  const data = section(secret, "data");
  for (const [key, value] of Object.entries(stringData)) data[key] = Buffer.from(value).toString("base64");
  delete secret.stringData;
}

export function validateSecret(secret: ApiObject, previous: ApiObject | undefined): readonly FieldProblem[] {
  const problems = [...dataProblems(secret, "data"), ...immutableProblems(secret, previous, ["data", "stringData"])];
  const data = Object.entries((secret.data as Record<string, unknown> | undefined) ?? {});
  for (const [key, value] of data) {
    if (typeof value === "string" && /^[A-Za-z0-9+/\s]*={0,2}\s*$/.test(value)) continue;
    problems.push({ field: `data[${key}]`, reason: "FieldValueInvalid", message: "must be base64" });
  }
  if (previous !== undefined && secret.type !== previous.type) {
    problems.push({ field: "type", reason: "FieldValueInvalid", message: "field is immutable" });
  }
  return problems;
}

export function validateConfigMap(configMap: ApiObject, previous: ApiObject | undefined): readonly FieldProblem[] {
  return [
    ...dataProblems(configMap, "data"),
    ...dataProblems(configMap, "binaryData"),
    ...immutableProblems(configMap, previous, ["data", "binaryData"]),
  ];
}

function dataProblems(object: ApiObject, field: string): FieldProblem[] {
  const data = object[field];
  if (data === undefined || data === null) return [];
  if (typeof data !== "object" || Array.isArray(data)) {
    return [{ field, reason: "FieldValueTypeInvalid", message: "must be a map" }];
  }
  const problems: FieldProblem[] = [];
  let size = 0;
  for (const [key, value] of Object.entries(data)) {
    size += String(value).length;
    if (!dataKeyPattern.test(key) || key === "." || key === "..") {
      problems.push({
        field: `${field}[${key}]`,
        reason: "FieldValueInvalid",
        message: "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
      });
    } else if (typeof value !== "string") {
      problems.push({ field: `${field}[${key}]`, reason: "FieldValueTypeInvalid", message: "must be a string" });
    }
  }
  if (size > maxSecretBytes * 1.4) {
    problems.push({ field, reason: "FieldValueInvalid", message: `must have at most ${maxSecretBytes} bytes` });
  }
  return problems;
}

function immutableProblems(
  object: ApiObject,
  previous: ApiObject | undefined,
  fields: readonly string[],
): FieldProblem[] {
  if (previous?.immutable !== true) return [];
  const problems: FieldProblem[] = [];
  const message = "field is immutable when `immutable` is set";
  if (object.immutable !== true) problems.push({ field: "immutable", reason: "FieldValueForbidden", message });
  for (const field of fields) {
    if (JSON.stringify(object[field]) !== JSON.stringify(previous[field])) {
      problems.push({ field, reason: "FieldValueForbidden", message });
    }
  }
  return problems;
}

export function defaultService(service: ApiObject): void {
  const spec = section(service, "spec");
  spec.type ??= "ClusterIP";
  spec.sessionAffinity ??= "None";
  spec.internalTrafficPolicy ??= "Cluster";
  for (const port of listAt(service, "spec.ports")) {
    port.protocol ??= "TCP";
    port.targetPort ??= port.port;
  }
  section(service, "status").loadBalancer ??= {};
}

export function validateService(service: ApiObject, previous: ApiObject | undefined): readonly FieldProblem[] {
  const problems: FieldProblem[] = [];
  const isExternal = textAt(service, "spec.type") === "ExternalName";
  const isHeadless = textAt(service, "spec.clusterIP") === "None";
  if (listAt(service, "spec.ports").length === 0 && !isExternal && !isHeadless) {
    problems.push({ field: "spec.ports", reason: "FieldValueRequired", message: "Required value" });
  }
  for (const [index, port] of listAt(service, "spec.ports").entries()) {
    const number = port.port;
    if (typeof number === "number" && Number.isInteger(number) && number >= 1 && number <= 65_535) continue;
    problems.push({
      field: `spec.ports[${index}].port`,
      reason: "FieldValueInvalid",
      message: "must be between 1 and 65535, inclusive",
    });
  }
  const before = textAt(previous, "spec.clusterIP");
  if (before !== "" && before !== textAt(service, "spec.clusterIP") && !isExternal) {
    problems.push({ field: "spec.clusterIP", reason: "FieldValueInvalid", message: "field is immutable" });
  }
  return problems;
}

export function defaultPod(pod: ApiObject): void {
  const spec = section(pod, "spec");
  spec.restartPolicy ??= "Always";
  spec.dnsPolicy ??= "ClusterFirst";
  spec.schedulerName ??= "default-scheduler";
  spec.terminationGracePeriodSeconds ??= 30;
  spec.serviceAccountName ??= "default";
  spec.serviceAccount ??= spec.serviceAccountName;
  spec.securityContext ??= {};
  spec.enableServiceLinks ??= true;
  for (const container of [...listAt(pod, "spec.containers"), ...listAt(pod, "spec.initContainers")]) {
    container.terminationMessagePath ??= "/dev/termination-log";
    container.terminationMessagePolicy ??= "File";
    const image = String(container.image ?? "");
    container.imagePullPolicy ??= /(^|:)latest$/.test(image) || !/:[^/]+$/.test(image) ? "Always" : "IfNotPresent";
    container.resources ??= {};
  }
  const status = section(pod, "status");
  status.phase ??= "Pending";
  status.qosClass ??= "BestEffort";
}

/** A pod as it would be stored today: one of an earlier release may lack defaults that an update brings. */
function defaulted(pod: ApiObject): ApiObject {
  const copy = structuredClone(pod);
  defaultPod(copy);
  return copy;
}

export function validatePod(pod: ApiObject, previous: ApiObject | undefined): readonly FieldProblem[] {
  const isSame = previous === undefined || previous.spec === pod.spec;
  const problems = isSame ? [] : validatePodUpdate(pod, defaulted(previous));
  if (listAt(pod, "spec.containers").length === 0) {
    problems.push({ field: "spec.containers", reason: "FieldValueRequired", message: "Required value" });
  }
  for (const [index, container] of listAt(pod, "spec.containers").entries()) {
    if (typeof container.name === "string" && container.name !== "") continue;
    problems.push({ field: `spec.containers[${index}].name`, reason: "FieldValueRequired", message: "Required value" });
  }
  return problems;
}

/**
 * A signer decides by who asks, so it is never the asker who says that.
 * Source: kubernetes pkg/registry/certificates/certificates/strategy.go.
 */
export function setCertificateRequester(request: ApiObject, { name, uid, groups, extra }: User): void {
  const { uid: _, extra: __, ...spec } = section(request, "spec");
  request.spec = {
    ...spec,
    username: name,
    groups: [...groups],
    ...(uid === undefined ? {} : { uid }),
    ...(extra === undefined || Object.keys(extra).length === 0 ? {} : { extra }),
  };
}

/** What was asked for, and by whom, stays. */
export function restoreCertificateRequest(request: ApiObject, previous: ApiObject): void {
  request.spec = previous.spec;
}

/** The map at a top-level field, made when it is missing. */
export function section(object: ApiObject, field: string): Record<string, unknown> {
  const value = fieldAt(object, field);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  const made: Record<string, unknown> = {};
  object[field] = made;
  return made;
}

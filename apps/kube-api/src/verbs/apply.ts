import { isDeepStrictEqual } from "node:util";
import { ApiError, apiErrors } from "../http/api-error.ts";
import { type ApiObject, apiVersionOf, qualifiedName } from "../kinds/kind.ts";
import { inVersion } from "../kinds/versions.ts";
import {
  type FieldPath,
  type FieldSet,
  fieldsOf,
  fromFieldsV1,
  mergeApplied,
  removeAt,
  toFieldsV1,
  valueAt,
} from "../patch/field-set.ts";
import { messageOf } from "../schema/kinds.ts";
import type { Message } from "../schema/message.ts";
import { answer } from "./answer.ts";
import { type Call, idOf } from "./call.ts";
import { changeObject } from "./change-object.ts";
import { createObject } from "./create-object.ts";
import { reportUnknownFields } from "./field-validation.ts";
import { parseBody, parseObject } from "./parse-object.ts";
import { timestamp } from "./prepare.ts";

/** One manager's fields, as metadata.managedFields holds them. */
interface ManagedEntry {
  manager: string;
  operation: string;
  apiVersion: string;
  time: string;
  fieldsType: "FieldsV1";
  fieldsV1: Record<string, unknown>;
  subresource?: string;
}

/**
 * Server-side apply. Fields that a manager applies are its own: what it stops naming goes away, and what another manager
 * applied with another value is a conflict unless forced. Only appliers are tracked; plain updates and patches own nothing,
 * so an apply takes their changes back without asking.
 */
export async function apply(call: Call, body: unknown): Promise<void> {
  const { info, context } = call;
  const manager = info.query.get("fieldManager");
  if (manager === null || manager === "") {
    throw apiErrors.badRequest(
      "PatchOptions.meta.k8s.io is invalid: fieldManager: Required value: is required for apply patch",
    );
  }
  const { object: applied, unknown } = parseBody(body, call);
  reportUnknownFields(call, unknown);
  if ((applied.metadata.name ?? info.name) !== info.name) {
    throw apiErrors.badRequest("the name of the applied object does not match the name on the URL");
  }
  if (info.subresource === undefined && (await context.store.get(idOf(call))) === undefined) {
    const named = { ...applied, metadata: { ...applied.metadata, name: info.name ?? "" } };
    return answer(call, 201, await createObject(call, owned(call, named, applied, [], manager)));
  }
  answer(call, 200, await changeObject(call, {}, (current) => applyTo(call, current, applied, manager)));
}

/** The object with `applied` in it and its managers up to date. Throws 409 when another applier disagrees. */
function applyTo(call: Call, current: ApiObject, applied: ApiObject, manager: string): ApiObject {
  const { info, kind } = call;
  const message = messageOf(kind, info.version);
  const live = inVersion(current, kind, info.version);
  const entries = managedFieldsOf(current);
  const isOwn = (entry: ManagedEntry): boolean =>
    entry.manager === manager && entry.operation === "Apply" && entry.subresource === info.subresource;
  const mine = fieldsOf(applied, message);
  const before = fromFieldsV1(entries.find(isOwn)?.fieldsV1);
  const others = entries
    .filter((entry) => !isOwn(entry))
    .map((entry) => ({ entry, fields: fromFieldsV1(entry.fieldsV1) }));
  const disputed = new Map(
    others.map(({ entry, fields }) => [entry, disputes(live, applied, mine, fields, message)] as const),
  );
  if (info.query.get("force") !== "true") refuseConflicts(call, disputed);

  const merged = mergeApplied(structuredClone(live), applied, message) as ApiObject;
  for (const [key, path] of before) {
    const isStillNamed = mine.has(key) || others.some(({ fields }) => covers(fields, path));
    if (!isStillNamed) removeAt(merged, path, message);
  }
  const kept = others.map(({ entry, fields }) => {
    const lost = new Set((disputed.get(entry) ?? []).map((path) => path.join("\n")));
    return { ...entry, fieldsV1: toFieldsV1(new Map([...fields].filter(([key]) => !lost.has(key)))) };
  });
  return owned(call, merged, applied, kept, manager);
}

/** `object`, ready to be stored, with `manager` as the owner of what was applied beside the `others`. */
function owned(
  call: Call,
  object: ApiObject,
  applied: ApiObject,
  others: readonly ManagedEntry[],
  manager: string,
): ApiObject {
  const { info, kind, context } = call;
  const { object: parsed } = parseObject(object, call);
  const entry: ManagedEntry = {
    manager,
    operation: "Apply",
    apiVersion: apiVersionOf(kind.group, info.version),
    time: timestamp(context.clock.now()),
    fieldsType: "FieldsV1",
    fieldsV1: toFieldsV1(fieldsOf(applied, messageOf(kind, info.version))),
    ...(info.subresource === undefined ? {} : { subresource: info.subresource }),
  };
  const same = managedFieldsOf(object).find(
    (candidate) => candidate.manager === manager && isDeepStrictEqual(candidate.fieldsV1, entry.fieldsV1),
  );
  // An apply that changes nothing must not change the object by its time alone.
  const managedFields = [...others, same ?? entry].filter(({ fieldsV1 }) => Object.keys(fieldsV1).length > 0);
  return { ...parsed, metadata: { ...parsed.metadata, managedFields } as ApiObject["metadata"] };
}

function managedFieldsOf(object: ApiObject): ManagedEntry[] {
  const { managedFields } = object.metadata as { managedFields?: ManagedEntry[] };
  return managedFields ?? [];
}

/** Fields of another manager that the applied object would change. */
function disputes(
  live: ApiObject,
  applied: ApiObject,
  mine: FieldSet,
  theirs: FieldSet,
  message: Message | undefined,
): FieldPath[] {
  return [...mine]
    .filter(([key, path]) => path.at(-1) !== "." && theirs.has(key))
    .map(([, path]) => path)
    .filter((path) => !isDeepStrictEqual(valueAt(live, path, message), valueAt(applied, path, message)));
}

/** Whether a set has the path, or something below it. */
function covers(fields: FieldSet, path: FieldPath): boolean {
  const text = path.join("\n");
  const below = text.endsWith(".") ? text.slice(0, -1) : `${text}\n`;
  return [...fields.keys()].some((key) => key === text || key.startsWith(below));
}

function refuseConflicts({ kind, info }: Call, disputed: ReadonlyMap<ManagedEntry, readonly FieldPath[]>): void {
  const causes = [...disputed].flatMap(([entry, paths]) =>
    paths.map((path) => ({
      reason: "FieldManagerConflict",
      message: `conflict with ${JSON.stringify(entry.manager)} using ${entry.apiVersion}`,
      field: readable(path),
    })),
  );
  if (causes.length === 0) return;
  const lines = causes.map(({ message, field }) => `${message}: ${field}`);
  const plural = causes.length === 1 ? "conflict" : "conflicts";
  throw new ApiError(409, "Conflict", `Apply failed with ${causes.length} ${plural}: ${lines.join("\n")}`, {
    name: info.name ?? "",
    kind: qualifiedName(kind),
    causes,
  });
}

/** `.spec.ports[port=80].name`: how kubectl shows a path. */
function readable(path: FieldPath): string {
  return path
    .map((element) => {
      if (element.startsWith("f:")) return `.${element.slice(2)}`;
      if (element.startsWith("v:")) return `[=${element.slice(2)}]`;
      const keys = Object.entries(JSON.parse(element.slice(2)) as Record<string, unknown>);
      return `[${keys.map(([key, value]) => `${key}=${JSON.stringify(value)}`).join(",")}]`;
    })
    .join("");
}

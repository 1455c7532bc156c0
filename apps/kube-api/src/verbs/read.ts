import { apiErrors } from "../http/api-error.ts";
import type { ApiObject } from "../kinds/kind.ts";
import { type ParsedFieldSelector, parseFieldSelector } from "../select/field-selector.ts";
import { type LabelSelector, parseLabelSelector } from "../select/label-selector.ts";
import { prefixOf } from "../storage/object-store.ts";
import { answer, answerList } from "./answer.ts";
import { type Call, idOf } from "./call.ts";
import { decodeContinue, encodeContinue } from "./continue-token.ts";
import { type ListOptions, parseListOptions } from "./list-options.ts";

export async function get(call: Call): Promise<void> {
  const id = idOf(call);
  const object = await call.context.store.get(id);
  if (object === undefined) throw apiErrors.notFound(id.kind, id.name);
  answer(call, 200, object);
}

/** Which objects a list or watch is about. */
export interface Selection {
  labels: LabelSelector | undefined;
  fields: ParsedFieldSelector | undefined;
  namespace: string | undefined;
}

export function selectionOf({ info, kind }: Call): Selection {
  const name = info.name === undefined ? null : `metadata.name=${info.name}`;
  const fields = [info.query.get("fieldSelector"), name].filter((part) => part !== null && part !== "").join(",");
  return {
    labels: parseLabelSelector(info.query.get("labelSelector")),
    fields: parseFieldSelector(kind, fields),
    namespace: kind.namespaced ? info.namespace : undefined,
  };
}

export function selects({ labels, fields, namespace }: Selection, object: ApiObject): boolean {
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  return (labels?.(object.metadata.labels) ?? true) && (fields?.matches(object) ?? true);
}

/** Objects of a selection at one revision, with what is needed to go on. */
export interface SelectedList {
  items: ApiObject[];
  revision: number;
  continueToken: string | undefined;
  remaining: number | undefined;
}

/** Reads a list. With a selector, pages are read until `limit` objects match, so that a page is not empty by chance. */
export async function readList(call: Call, options: ListOptions): Promise<SelectedList> {
  const { kind, context } = call;
  const selection = selectionOf(call);
  const exact = selection.fields?.exactName;
  if (exact !== undefined && !options.isExact && (selection.namespace !== undefined || !kind.namespaced)) {
    return readSingle(call, exact, selection);
  }
  const { limit } = options;
  const prefix = prefixOf(kind, selection.namespace);
  const start = options.continue === "" ? undefined : decodeContinue(options.continue);
  const items: ApiObject[] = [];
  let from = start === undefined ? prefix : prefix + start.from;
  let revision = start?.revision ?? (await pinnedRevision(call, options));
  for (;;) {
    const page = await context.store.list(kind, selection.namespace, {
      limit,
      from,
      ...(revision === undefined ? {} : { revision }),
    });
    revision ??= page.revision;
    for (const [index, object] of page.items.entries()) {
      if (!selects(selection, object)) continue;
      items.push(object);
      if (limit === 0 || items.length < limit) continue;
      const rest = page.items.length - index - 1 + page.remaining;
      if (rest === 0) return { items, revision, continueToken: undefined, remaining: undefined };
      const next = `${storageName(object, selection.namespace)}\0`;
      const filtered = selection.labels !== undefined || selection.fields !== undefined;
      return {
        items,
        revision,
        continueToken: encodeContinue({ revision, from: next }),
        remaining: filtered ? undefined : rest,
      };
    }
    if (page.next === undefined) return { items, revision, continueToken: undefined, remaining: undefined };
    from = page.next;
  }
}

/** Only resourceVersionMatch=Exact asks for the past; every other list is answered with the present, which is never too old. */
async function pinnedRevision({ context }: Call, options: ListOptions): Promise<number | undefined> {
  if (!options.isExact) return undefined;
  const asked = Number(options.resourceVersion);
  const current = await context.store.currentRevision();
  if (asked > current) throw apiErrors.tooLargeResourceVersion(asked, current);
  return asked;
}

async function readSingle(call: Call, name: string, selection: Selection): Promise<SelectedList> {
  const { kind, context } = call;
  // The revision is read first: an object that appears in between is newer than it, and a watch from it will tell.
  const revision = await context.store.currentRevision();
  const object = name === "" ? undefined : await context.store.get({ kind, namespace: selection.namespace, name });
  const items = object !== undefined && selects(selection, object) ? [object] : [];
  const newest = Math.max(revision, Number(items[0]?.metadata.resourceVersion ?? 0));
  return { items, revision: newest, continueToken: undefined, remaining: undefined };
}

function storageName(object: ApiObject, namespace: string | undefined): string {
  const { name, namespace: own } = object.metadata;
  return namespace === undefined && own !== undefined ? `${own}/${name}` : name;
}

export async function list(call: Call): Promise<void> {
  const options = parseListOptions(call.info.query, "list");
  const { items, revision, continueToken, remaining } = await readList(call, options);
  const asked = Number(options.resourceVersion);
  if (asked > revision) throw apiErrors.tooLargeResourceVersion(asked, revision);
  const metadata = {
    resourceVersion: String(revision),
    ...(continueToken === undefined ? {} : { continue: continueToken }),
    ...(remaining === undefined || remaining <= 0 ? {} : { remainingItemCount: remaining }),
  };
  answerList(call, items, metadata);
}

import type { KubeObject } from "@keelson/kube-client";
import type { User } from "../auth/user.ts";
import { isMap } from "../patch/merge-patch.ts";
import type { View } from "./versions.ts";

/** Any object the API stores: metadata plus whatever the kind has. */
export interface ApiObject extends KubeObject {
  apiVersion: string;
  kind: string;
  [field: string]: unknown;
}

/** A printed column of `kubectl get`; `wide` ones (priority 1) only with `-o wide`. */
export interface Column {
  name: string;
  type?: "string" | "integer" | "date";
  wide?: boolean;
  description?: string;
  cell(object: ApiObject, nowMs: number): string | number;
}

/** One row of the table of kinds: everything the generic implementation needs to know about a kind. */
export interface Kind {
  group: string;
  /** Served versions, preferred one first; objects are stored in the first. */
  versions: readonly string[];
  kind: string;
  plural: string;
  singular: string;
  shortNames?: readonly string[];
  categories?: readonly string[];
  namespaced: boolean;
  /** Below `/registry/`, as kube-apiserver names it. */
  storagePrefix: string;
  /** apiVersion that stored objects carry, when it is not the preferred version's. */
  storedApiVersion?: string;
  /** Versions whose shape differs from what is stored. */
  views?: Readonly<Record<string, View>>;
  /** Subresources served by the generic code: `status` splits spec and status. */
  subresources?: readonly string[];
  /** Verbs, when not all of them. */
  verbs?: readonly string[];
  columns: readonly Column[];
  /** Field selectors beside metadata.name and metadata.namespace: path -> value. */
  selectableFields?: Readonly<Record<string, (object: ApiObject) => string>>;
  /** Whether a status comes with the object when it is created; others have one only once somebody reports it. */
  createsStatus?: boolean;
  /** Writes into a new object who asked for it. Changes the object. */
  setRequester?(object: ApiObject, user: User): void;
  /** Takes back what an update may not change and does not refuse. Changes `object`. */
  restore?(object: ApiObject, previous: ApiObject): void;
  /** Fills in what the API defaults on create and update. Changes the object. */
  applyDefaults?(object: ApiObject): void;
  /** Problems that make an object invalid: field and message. */
  validate?(object: ApiObject, previous: ApiObject | undefined): readonly FieldProblem[];
  /** Seconds an object lives (events); 0 or absent is for ever. */
  ttlSeconds?: number;
  /** Whether metadata.generation counts spec changes. */
  hasGeneration?: boolean;
}

export interface FieldProblem {
  field: string;
  reason:
    | "FieldValueRequired"
    | "FieldValueInvalid"
    | "FieldValueForbidden"
    | "FieldValueTypeInvalid"
    | "FieldValueNotSupported";
  message: string;
}

export function apiVersionOf(group: string, version: string): string {
  return group === "" ? version : `${group}/${version}`;
}

/** `pods` or `deployments.apps`: how errors name a resource. */
export function qualifiedName(kind: Kind): string {
  return kind.group === "" ? kind.plural : `${kind.plural}.${kind.group}`;
}

/** The part of an object at a dotted path, or undefined. */
export function fieldAt(object: unknown, path: string): unknown {
  let current: unknown = object;
  for (const part of path.split(".")) {
    if (typeof current !== "object" || current === null) return undefined;
    current = (current as Record<string, unknown>)[part];
  }
  return current;
}

export function textAt(object: unknown, path: string): string {
  const value = fieldAt(object, path);
  return value === undefined || value === null ? "" : String(value);
}

/** The maps of a list; other items, which no valid object has, are left out. */
export function listAt(object: unknown, path: string): Record<string, unknown>[] {
  const value = fieldAt(object, path);
  return Array.isArray(value) ? value.filter(isMap) : [];
}

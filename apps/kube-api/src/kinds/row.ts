import { age, createdAt, name } from "../table/columns.ts";
import type { Column, Kind } from "./kind.ts";

const nameAndAge: readonly Column[] = [name, age];
export const nameAndCreation: readonly Column[] = [name, createdAt];

/** Starts a row: the singular and storage prefix follow from the plural unless the row says otherwise. */
export function row(group: string, kind: string, plural: string, rest: Partial<Kind> & { namespaced: boolean }): Kind {
  return {
    group,
    versions: ["v1"],
    kind,
    plural,
    singular: kind.toLowerCase(),
    storagePrefix: plural,
    columns: nameAndAge,
    ...rest,
  };
}

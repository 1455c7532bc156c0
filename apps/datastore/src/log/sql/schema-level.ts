import { KeelsonError } from "@keelson/service";

/** Raised when a later version changes our tables in a way that this one must not write to. */
export const schemaLevel = 1;

export const kineIndexes = {
  unique: "kine_name_prev_revision_uindex",
  /** kine makes these itself when they are missing; nothing of ours reads them, and every insert would pay for them. */
  others: [
    "kine_name_index",
    "kine_name_id_index",
    "kine_id_deleted_index",
    "kine_prev_revision_index",
    "kine_list_query_index",
  ],
} as const;

export function checkSchemaLevel(found: string | undefined, database: string): void {
  if (found === undefined || Number(found) <= schemaLevel) return;
  throw new KeelsonError(
    "datastore/newer-schema",
    `${database} was written by a newer Keelson (schema level ${found})`,
    {
      hint: "start that version, or restore a backup made by this one",
    },
  );
}

export function duplicateRows(database: string, cause: unknown): KeelsonError {
  return new KeelsonError("datastore/duplicate-rows", `${database} holds two rows that supersede the same version`, {
    hint: "the table lost its unique index at some time; restore a backup, or remove the newer duplicate by hand",
    cause,
  });
}

/**
 * Versions of rows that kine wrote: one more than the row before, 1 on a create, 0 on a deletion, and 2 where the row before
 * was compacted away. A subquery with the columns `id` and `known`.
 */
export const derivedVersions = `
  SELECT id, CASE WHEN deleted = 1 THEN 0 ELSE base + position - 1 END AS known FROM (
    SELECT id, deleted,
      FIRST_VALUE(CASE WHEN version IS NOT NULL THEN version WHEN created = 1 THEN 1 ELSE 2 END)
        OVER (PARTITION BY name, generation ORDER BY id) AS base,
      ROW_NUMBER() OVER (PARTITION BY name, generation ORDER BY id) AS position
    FROM (
      SELECT id, name, created, deleted, version,
        SUM(CASE WHEN created = 1 OR version IS NOT NULL THEN 1 ELSE 0 END) OVER (PARTITION BY name ORDER BY id) AS generation
      FROM kine WHERE name <> 'compact_rev_key'
    ) AS generations
  ) AS positions`;

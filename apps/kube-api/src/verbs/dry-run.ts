import { apiErrors } from "../http/api-error.ts";
import type { ResourceRequest } from "../http/request-info.ts";
import { isMap } from "../patch/merge-patch.ts";

const optionKinds: Readonly<Record<string, string>> = {
  create: "CreateOptions",
  update: "UpdateOptions",
  patch: "PatchOptions",
};

/**
 * Whether a write only asks what it would do: `?dryRun=All`, or `dryRun: ["All"]` in DeleteOptions, where kubectl says it.
 * Throws 422 for every other value: who asks for a dry run in a word that is not known must not get a real one.
 */
export function isDryRun(info: ResourceRequest, deleteOptions?: unknown): boolean {
  const inBody = isMap(deleteOptions) ? (deleteOptions.dryRun ?? []) : [];
  const values = [...info.query.getAll("dryRun"), ...(Array.isArray(inBody) ? inBody : [inBody])];
  const problems = values
    .filter((value) => value !== "All")
    .map((value) => ({
      field: "dryRun",
      reason: "FieldValueNotSupported" as const,
      message: `Unsupported value: ${JSON.stringify(value)}: supported values: "All"`,
    }));
  if (problems.length > 0) throw apiErrors.invalidOptions(optionKinds[info.verb] ?? "DeleteOptions", problems);
  return values.length > 0;
}

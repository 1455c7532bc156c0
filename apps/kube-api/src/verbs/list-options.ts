import { apiErrors } from "../http/api-error.ts";
import type { FieldProblem } from "../kinds/kind.ts";

/** What the query of a list, watch or collection deletion asks for. */
export interface ListOptions {
  /** Objects a page; 0 is all. */
  limit: number;
  /** The token of the next page, or "". */
  continue: string;
  /** As given: "" is the newest state, "0" any. */
  resourceVersion: string;
  /** Exactly the state at `resourceVersion` is wanted, not one at least as new. */
  isExact: boolean;
  /** For a watch: the present objects come first. */
  sendInitialEvents: boolean;
}

const matches = ["Exact", "NotOlderThan"];

/** Throws 400 for a value that cannot be read, 422 for values that contradict each other. */
export function parseListOptions(query: URLSearchParams, verb: "list" | "watch"): ListOptions {
  const initial = query.get("sendInitialEvents");
  const options = {
    limit: Math.max(0, integer(query, "limit")),
    continue: query.get("continue") ?? "",
    resourceVersion: query.get("resourceVersion") ?? "",
    sendInitialEvents: initial !== null && initial !== "false" && initial !== "0",
  };
  integer(query, "timeoutSeconds");
  const match = query.get("resourceVersionMatch") ?? "";
  const problems = verb === "watch" ? watchProblems(match, initial, options) : listProblems(match, initial, options);
  if (problems.length > 0) throw apiErrors.invalidOptions("ListOptions", problems);
  if (!/^\d*$/.test(options.resourceVersion))
    throw apiErrors.badRequest(`invalid resource version: ${JSON.stringify(options.resourceVersion)}`);
  return { ...options, isExact: match === "Exact" };
}

function integer(query: URLSearchParams, name: string): number {
  const text = query.get(name) ?? "";
  if (/^-?\d*$/.test(text) && text !== "-") return Number(text);
  throw apiErrors.badRequest(`${name}: strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
}

type Given = Omit<ListOptions, "isExact">;

/** Source: apimachinery pkg/apis/meta/internalversion/validation. */
function listProblems(match: string, initial: string | null, { resourceVersion, continue: token }: Given) {
  const problems: FieldProblem[] = [];
  if (match !== "") {
    if (resourceVersion === "") problems.push(forbidden("resourceVersionMatch", "unless resourceVersion is provided"));
    if (token !== "") problems.push(forbidden("resourceVersionMatch", "when continue is provided"));
    if (!matches.includes(match)) problems.push(unsupported(match, matches));
    if (match === "Exact" && resourceVersion === "0")
      problems.push(forbidden("resourceVersionMatch", 'with "Exact" for resourceVersion "0"'));
  }
  if (initial !== null) problems.push(forbidden("sendInitialEvents", "for list"));
  return problems;
}

function watchProblems(match: string, initial: string | null, { continue: token }: Given) {
  const problems: FieldProblem[] = [];
  if (initial !== null) {
    if (match !== "NotOlderThan")
      problems.push(forbidden("sendInitialEvents", "without resourceVersionMatch set to NotOlderThan"));
    if (token !== "") problems.push(forbidden("sendInitialEvents", "when continue is provided"));
  } else if (match !== "") {
    problems.push(forbidden("resourceVersionMatch", "for watch unless sendInitialEvents is provided"));
  }
  if (match !== "" && match !== "NotOlderThan") problems.push(unsupported(match, ["NotOlderThan"]));
  return problems;
}

function forbidden(field: string, why: string): FieldProblem {
  return { field, reason: "FieldValueForbidden", message: `Forbidden: ${field} is forbidden ${why}` };
}

function unsupported(match: string, supported: readonly string[]): FieldProblem {
  const values = supported.map((value) => JSON.stringify(value)).join(", ");
  const message = `Unsupported value: ${JSON.stringify(match)}: supported values: ${values}`;
  return { field: "resourceVersionMatch", reason: "FieldValueNotSupported", message };
}

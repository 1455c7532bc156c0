import { apiErrors } from "../http/api-error.ts";
import type { Call } from "./call.ts";

/** Errors beyond this many are not listed. */
const maxListed = 10;

/**
 * Tells the client about the fields that its object has and its kind has not; they are never stored.
 * `fieldValidation=Strict` refuses the object (400), `Warn` says so in a header; without it nothing is said.
 * Source: apiserver field validation.
 */
export function reportUnknownFields({ info, kind, response }: Call, unknown: readonly string[]): void {
  const mode = info.query.get("fieldValidation");
  if (unknown.length === 0 || (mode !== "Strict" && mode !== "Warn")) return;
  const texts = unknown.slice(0, maxListed).map((path) => `unknown field "${path}"`);
  if (mode === "Warn") {
    response.setHeader(
      "warning",
      texts.map((text) => `299 - ${JSON.stringify(text)}`),
    );
    return;
  }
  throw apiErrors.badRequest(
    `${kind.kind} in version "${info.version}" cannot be handled as a ${kind.kind}: strict decoding error: ${texts.join(", ")}`,
  );
}

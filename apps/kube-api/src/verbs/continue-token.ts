import { apiErrors } from "../http/api-error.ts";

/** Where the next page of a list starts, and at which revision the whole list is read. */
export interface ContinueToken {
  revision: number;
  /** The storage key to continue at, without the prefix of the kind. */
  from: string;
}

export function encodeContinue(token: ContinueToken): string {
  return Buffer.from(JSON.stringify({ v: 1, rv: token.revision, start: token.from })).toString("base64url");
}

export function decodeContinue(text: string): ContinueToken {
  try {
    const { rv, start } = JSON.parse(Buffer.from(text, "base64url").toString("utf8")) as {
      rv: unknown;
      start: unknown;
    };
    // A key with ".." or a leading "/" would leave the kind's prefix.
    if (
      typeof rv === "number" &&
      rv > 0 &&
      typeof start === "string" &&
      !start.startsWith("/") &&
      !start.includes("..")
    ) {
      return { revision: rv, from: start };
    }
  } catch {
    // answered below, like every other token that is not ours
  }
  throw apiErrors.badRequest("continue key is not valid");
}
